"""The checks: a module a family, found by its `CHECKS`; nothing else names them."""
