"""The verbs of `skerry-lab`, one module each; a name with `_` in front is no verb."""
