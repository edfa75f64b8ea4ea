"""How a device gets its identity from the cloud: DPS and IoT Hub's registry, as their client."""
