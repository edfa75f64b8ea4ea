"""The operator package of Skerry: image definitions, builds, stamping, booting and validation."""
