"""The device provisioning service: enrolments, attestation, assignment to a hub."""
