"""Fleets: many devices of one image, described by one fleet.toml (docs/fleets.md)."""
