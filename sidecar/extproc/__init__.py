"""The gRPC edge: Envoy's ext_proc messages in, answers out."""
