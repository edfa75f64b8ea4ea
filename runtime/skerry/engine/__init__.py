"""The container engine (Moby) as edged needs it: few calls, typed answers, named errors."""
