"""One HTTP/1.1 connection to the origin: h11 knows the protocol, this gives it a socket."""

import asyncio
import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import cast

import h11

from sidecar.idempotency.body import PIECE_BYTES, assembled, cut
from sidecar.idempotency.fields import HOP_BY_HOP, Fields, end_to_end
from sidecar.origin.call import OriginAnswer, OriginCall
from sidecar.origin.errors import MayHaveBeenSentError, NeverSentError
from sidecar.origin.provenance import provenance, without_provenance

_MAX_HEAD = 131_072
"""Bytes of an answer's head or of its trailers; Envoy lets 60 KiB of an upstream's through."""
_PIECE = 262_144
"""Bytes of a request body that are handed to the socket at once."""
_READ = 65_536


class Connection(asyncio.Protocol):
    """A connection for one exchange.

    It never repeats anything: whatever goes wrong after `exchange` began to write ends it with
    `MayHaveBeenSentError`.
    """

    def __init__(self) -> None:
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
        self._transport: asyncio.Transport | None = None
        self._receiving: _Receiving | None = None
        self._unsent: Iterator[bytes] = iter(())
        self._writable = True

    async def exchange(self, request: h11.Request, call: OriginCall) -> OriginAnswer:
        """Write the request, return its complete answer, and close; called once.

        Cancelling it closes the connection at once, which makes Envoy cancel the upstream's call.

        Raises:
            NeverSentError: The origin closed the connection before anything was written.
            MayHaveBeenSentError: The answer is missing, stops short or is not HTTP.
        """
        if self._transport is None or self._transport.is_closing():
            raise NeverSentError("the origin closed the connection as soon as it was there")
        self._receiving = receiving = _Receiving(call.max_response_body)
        self._unsent = self._written(request, call.body)
        self._send()
        try:
            return await receiving.answer
        finally:
            self.close()

    def close(self) -> None:
        """Close it; an exchange under way fails."""
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # in all but name: uvloop has types of its own

    def pause_writing(self) -> None:
        """Hold the rest of the request: the peer does not read as fast as it is written."""
        self._writable = False

    def resume_writing(self) -> None:
        """Go on with the request."""
        self._writable = True
        self._send()

    def data_received(self, data: bytes) -> None:
        """Take in a part of the answer."""
        self._receive(data)

    def eof_received(self) -> None:
        """The peer is done: the end of an answer that has no other, or of one that stops short."""
        self._receive(b"")

    def connection_lost(self, exc: Exception | None) -> None:
        """Take in what still lies in the socket, then give up."""
        if exc is not None:
            self._receive_rest()
        if self._receiving is not None:
            self._receiving.fail(f"the connection to the origin broke: {exc or 'it was closed'}")
        self._transport = None

    # --- Writing

    def _written(self, request: h11.Request, body: bytes) -> Iterator[bytes]:
        """The request as bytes, piece by piece."""
        head = self._http.send(request) or b""
        if len(body) <= _PIECE:
            yield head + self._framed(body) + self._ended()
            return
        yield head
        view = memoryview(body)
        for start in range(0, len(body), _PIECE):
            yield self._framed(view[start : start + _PIECE])
        yield self._ended()

    def _framed(self, piece: bytes | memoryview) -> bytes:
        return (self._http.send(h11.Data(data=bytes(piece))) if piece else None) or b""

    def _ended(self) -> bytes:
        return self._http.send(h11.EndOfMessage()) or b""

    def _send(self) -> None:
        while self._writable and self._transport is not None and not self._transport.is_closing():
            piece = next(self._unsent, None)
            if piece is None:
                return
            self._transport.write(piece)

    # --- Reading

    def _receive(self, data: bytes) -> None:
        receiving = self._receiving
        if receiving is None:
            self.close()  # it spoke before it was asked
            return
        try:
            self._http.receive_data(data)
            while not receiving.answer.done():
                event = self._http.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                    return  # after the last of these, h11 has nothing else to say, however often it is asked
                receiving.take(event)
        except h11.RemoteProtocolError as error:
            if data:
                receiving.fail(f"the origin's answer is not HTTP/1.1: {error}")
            else:
                receiving.fail("the origin closed the connection before its answer was complete")

    def _receive_rest(self) -> None:
        """Read what the peer said before it closed, when writing to it failed.

        A server may answer before it has read the whole request, and close. The next write then fails, and
        asyncio drops the connection without reading the answer, which is there and complete. Until this
        callback returns, the socket is still open.
        """
        sockets = self._transport.get_extra_info("socket") if self._transport is not None else None
        with contextlib.suppress(OSError):
            while self._receiving is not None and not self._receiving.answer.done():
                data = os.read(sockets.fileno(), _READ)  # type: ignore[union-attr] # open until we return
                self._receive(data)
                if not data:
                    return


class _Receiving:
    """An answer as it comes in, kept up to a limit."""

    def __init__(self, limit: int) -> None:
        self.answer: asyncio.Future[OriginAnswer] = asyncio.get_running_loop().create_future()
        self._limit = limit
        self._size = 0
        self._pieces: list[bytes] = []
        self._rest = bytearray()
        self._head: h11.Response | None = None

    def take(self, event: object) -> None:
        """Add what h11 found. Interim answers are none."""
        match event:
            case h11.Response():
                self._head = event
            case h11.Data():
                self._keep(event.data)
            case h11.EndOfMessage() if self._head is not None:
                self.answer.set_result(self._complete(self._head, _fields(event.headers)))

    def fail(self, message: str) -> None:
        """End without an answer, unless there is one."""
        if not self.answer.done():
            error = MayHaveBeenSentError(message, response_began=self._head is not None)
            self.answer.set_exception(error)

    def _keep(self, data: bytes | bytearray) -> None:
        self._size += len(data)
        if self._size > self._limit:
            self._pieces, self._rest = [], bytearray()
            return
        self._rest += data
        if len(self._rest) > PIECE_BYTES:
            cut(self._rest, self._pieces)

    def _complete(self, head: h11.Response, trailers: Fields) -> OriginAnswer:
        fields = _fields(head.headers)
        return OriginAnswer(
            status=head.status_code,
            headers=without_provenance(end_to_end(fields)),
            body=assembled(self._pieces, self._rest) if self._size <= self._limit else None,
            trailers=end_to_end(trailers),
            origin=provenance(fields),
        )


def request_of(call: OriginCall) -> h11.Request:
    """The head of a call's request.

    Raises:
        NeverSentError: HTTP/1.1 has no way to write it.
    """
    try:
        return h11.Request(
            method=call.method.encode("latin-1"),
            target=call.target.encode("latin-1"),
            headers=list(_request_fields(call)),
        )
    except (h11.LocalProtocolError, UnicodeEncodeError) as error:
        raise NeverSentError(f"the request cannot be written as HTTP/1.1: {error}") from None


def _request_fields(call: OriginCall) -> Iterator[tuple[bytes, bytes]]:
    yield b"host", call.authority.encode("latin-1")
    sized = False
    for name, value in call.headers:
        if name == "content-length":
            if not sized:
                yield b"content-length", str(len(call.body)).encode()
            sized = True
        elif name not in HOP_BY_HOP and name != "host":
            yield name.encode("latin-1"), value
    if call.body and not sized:
        yield b"transfer-encoding", b"chunked"


def _fields(headers: Iterable[tuple[bytes, bytes]]) -> Fields:
    return tuple((name.decode("latin-1"), value) for name, value in headers)
