"""certd: keeps the certificates of a device and issues those that it may issue itself."""
