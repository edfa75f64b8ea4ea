"""The lab cloud of Skerry: IoT Hub and DPS on one machine."""
