"""tpmd: the TPM 2.0 of the device, for the identity and for secrets bound to the boot."""
