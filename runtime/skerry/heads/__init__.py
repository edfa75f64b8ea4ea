"""What clients of IoT Hub talk to, MQTT and HTTPS, the same for edge hub and lab cloud."""
