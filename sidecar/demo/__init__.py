"""The guided run: a payments service, the whole stack before it, a client that does everything wrong."""
