"""Generated from `protos/` by `make protos`; only `serialization.py` imports it."""
