"""Store and forward: every message the hub has acknowledged, until its receiver has it."""
