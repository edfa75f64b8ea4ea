"""What belongs to one operating system: how services are run. Only `skerry.cli` imports this."""
