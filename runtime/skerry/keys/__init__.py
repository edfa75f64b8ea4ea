"""keyd: keeps the private keys of a device and uses them for those who may."""
