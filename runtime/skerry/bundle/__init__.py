"""The support bundle: what a technician wants to know of a device, without its secrets."""
