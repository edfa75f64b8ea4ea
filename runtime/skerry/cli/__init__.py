"""The `skerry` command: one module per verb, discovered by its `register` function."""
