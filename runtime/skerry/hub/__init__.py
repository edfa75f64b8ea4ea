"""The edge hub: the local IoT Hub of modules and leaf devices."""
