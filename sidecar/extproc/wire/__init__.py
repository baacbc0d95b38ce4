"""Generated from `protos/` by `make protos`; only `codec.py` imports it."""
