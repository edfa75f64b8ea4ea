"""IoT Hub's identity registry: devices, modules, who may read and change them."""
