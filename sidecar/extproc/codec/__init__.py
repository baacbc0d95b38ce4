"""Wire bytes to events, effects to wire bytes: the only package that knows Envoy's protobuf messages."""

from sidecar.extproc.codec.decoding import UndecodableMessageError, decode
from sidecar.extproc.codec.encoding import encode

__all__ = ["UndecodableMessageError", "decode", "encode"]
