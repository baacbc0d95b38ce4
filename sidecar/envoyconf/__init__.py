"""Policies in, Envoy configuration out: the skip matcher, the ext_proc filter, a whole bootstrap."""
