"""The edge agent: makes the containers of a device what its deployment says."""
