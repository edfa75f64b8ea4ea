"""The difference of two images: what changed, and first of all what matters to security."""
