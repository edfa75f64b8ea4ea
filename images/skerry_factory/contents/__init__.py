"""What is in an image, read without mounting it and without root."""
