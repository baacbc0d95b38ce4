"""The benchmark: what the sidecar costs, next to doing nothing, to a no-op processor and to its peers."""
