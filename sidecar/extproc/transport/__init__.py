"""Transports: how the bytes of ext_proc streams come in and go out (see `port.py`)."""
