"""Direct methods: called by services and modules, answered by who is connected."""
