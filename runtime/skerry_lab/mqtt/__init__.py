"""The hub's MQTT head: devices, modules and DPS clients over MQTT 3.1.1."""
