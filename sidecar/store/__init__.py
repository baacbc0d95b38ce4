"""Where claims and records live: the port, its adapters, and the bytes of a stored record."""
