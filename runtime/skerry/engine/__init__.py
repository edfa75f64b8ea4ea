"""The container engine: what edged asks of Moby, as data and one Protocol."""
