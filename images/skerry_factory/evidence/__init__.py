"""The evidence that goes with an image: what is in it, from where, and what is known against it."""
