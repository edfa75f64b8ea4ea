"""edged: containers of this device, their identities, and who may ask for what."""
