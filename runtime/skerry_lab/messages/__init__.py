"""Messages of the hub: from devices, to devices, and files that devices upload."""
