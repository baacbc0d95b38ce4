"""HTTP/2 and gRPC for ext_proc alone (docs/decisions/0014): a sans-I/O core under an asyncio protocol.

Bytes come in through `protocol` and go through `connection`, which knows frames, `calls`, which knows the
streams, and `stream`, which knows messages, to the handler that the port describes; its answers go back by
`answering` and `sending`.
"""

from sidecar.extproc.transport.native.limits import Limits
from sidecar.extproc.transport.native.server import NativeTransport

__all__ = ["Limits", "NativeTransport"]
