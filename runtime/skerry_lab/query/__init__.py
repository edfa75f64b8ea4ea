"""IoT Hub's query language over twins: read, compiled once, asked of each twin."""
