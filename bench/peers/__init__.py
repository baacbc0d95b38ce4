"""The peers: services that keep idempotency keys in their own process, each in an environment of its own."""
