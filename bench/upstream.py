"""The service behind Envoy: reads a whole request, answers JSON of the size that its path begins with.

    python -m bench.upstream PORT

`POST /100/anything` is answered with 100 bytes. A path with `/hold` in it is answered when `GET /_release`
comes. `GET /_counts` tells how many requests were executed, and how many are held. It is as cheap as Python
can be, so that it takes little of the machine from what is measured: HTTP/1.1 without pipelining, as Envoy
speaks it; no header is looked at but the length.
"""

import asyncio
import json
import sys
from typing import cast

import uvloop

_HEAD_END = b"\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_LENGTH = b"\r\ncontent-length: "


def body_of(size: int) -> bytes:
    """JSON of exactly `size` bytes; none for 0.

    Raises:
        ValueError: It is too small for the members that are always there.
    """
    if size == 0:
        return b""
    head, tail = b'{"id":"po_1","status":"settled","note":"', b'"}'
    if size < len(head) + len(tail):
        raise ValueError(f"no JSON of {size} bytes; allowed: 0, or {len(head) + len(tail)} and more")
    return head + b"x" * (size - len(head) - len(tail)) + tail


def response_of(body: bytes) -> bytes:
    """A 200 with this body."""
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Service:
    """What all connections share."""

    def __init__(self) -> None:
        self.executed = 0
        self.held: list[tuple[Connection, bytes]] = []
        self._responses: dict[bytes, bytes] = {}

    def answer(self, path: bytes, connection: "Connection") -> bytes | None:
        """The response to a complete request; None where it is held."""
        if path.startswith(b"/_"):
            return response_of(self._control(path))
        self.executed += 1
        size = path.split(b"/", 2)[1]
        response = self._responses.get(size)
        if response is None:
            response = self._responses[size] = response_of(body_of(int(size)))
        if b"/hold" in path:
            self.held.append((connection, response))
            return None
        return response

    def _control(self, path: bytes) -> bytes:
        held = len(self.held)
        if path == b"/_release":
            for connection, response in self.held:
                connection.send(response)
            self.held.clear()
        return json.dumps({"executed": self.executed, "held": held}).encode()


class Connection(asyncio.Protocol):
    """One connection: one request at a time."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._buffer = b""
        self._missing = 0
        self._chunked = False
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast("asyncio.Transport", transport)

    def send(self, response: bytes) -> None:
        """Answer the request that is waiting."""
        if not self._transport.is_closing():
            self._transport.write(response)

    def data_received(self, data: bytes) -> None:
        """A piece of a request; answers the request that it completes."""
        if self._missing > 0:
            self._missing -= len(data)
            complete = self._missing <= 0
        elif self._chunked:
            self._tail = self._tail[-len(_LAST_CHUNK) :] + data
            complete = self._tail.endswith(_LAST_CHUNK)
        else:
            self._buffer = self._buffer + data if self._buffer else data
            complete = self._head_received()
        if complete:
            self._complete()

    def _head_received(self) -> bool:
        head, end, rest = self._buffer.partition(_HEAD_END)
        if not end:
            return False
        self._path = head.split(b" ", 2)[1]
        self._buffer = b""
        _, found, length = head.lower().partition(_LENGTH)
        if found:
            self._missing = int(length.partition(b"\r\n")[0]) - len(rest)
            return self._missing <= 0
        self._chunked, self._tail = b"\r\ntransfer-encoding:" in head.lower(), rest
        return not self._chunked or rest.endswith(_LAST_CHUNK)

    def _complete(self) -> None:
        self._missing, self._chunked, self._tail = 0, False, b""
        response = self._service.answer(self._path, self)
        if response is not None:
            self._transport.write(response)


async def serve(port: int) -> None:
    """Listen on the loopback until the process is ended."""
    service = Service()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(service), "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
