"""The hub's side of the cloud: a connection for each client it speaks for, and what goes up."""
