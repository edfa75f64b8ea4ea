"""Files, sockets, peers, HTTP and logging: what every service of Skerry stands on."""
