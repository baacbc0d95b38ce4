"""The command line: one module per command, registered in `sidecar.__main__`."""
