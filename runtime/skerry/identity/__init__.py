"""identityd: who this device is, and who its modules are."""
