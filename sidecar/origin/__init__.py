"""The HTTP client of detached execution (CONTRACT §6): makes the call that the client may leave behind."""
