"""The upstream's HTTP/1.1: one connection, one request after the other."""

import asyncio
import contextlib

import h11

from tests.chaos.service import BEFORE_A_CUT_S, READ, Reply, Request, Service


async def serve_http1(
    service: Service, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Serve a connection whose first bytes have been read, until it breaks or has to be broken."""
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(first)
    with contextlib.suppress(h11.ProtocolError):
        while await _serve_one(service, peer, reader, writer):
            peer.start_next_cycle()


async def _serve_one(
    service: Service, peer: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    """One request; whether another may follow."""
    head = await _next(peer, reader)
    if not isinstance(head, h11.Request):
        return False
    payload = await _payload(peer, reader)
    if payload is None:
        service.broke_off()
        return False
    headers = tuple((name.decode(), value.decode("latin-1")) for name, value in head.headers)
    reply = await service.answer(Request(head.target.decode(), headers, payload))
    return reply is not None and await _send(reply, peer, writer)


async def _payload(peer: h11.Connection, reader: asyncio.StreamReader) -> bytes | None:
    """The whole body, None where it ends early."""
    payload = b""
    while True:
        try:
            event = await _next(peer, reader)
        except (h11.RemoteProtocolError, ConnectionError):
            return None
        if isinstance(event, h11.Data):
            payload += event.data
        else:
            return payload if isinstance(event, h11.EndOfMessage) else None


async def _send(reply: Reply, peer: h11.Connection, writer: asyncio.StreamWriter) -> bool:
    """Write the response; False where it was cut."""

    async def write(event: h11.Event) -> None:
        writer.write(peer.send(event) or b"")
        await writer.drain()

    framing = ("content-length", str(len(reply.body))) if reply.sized else ("transfer-encoding", "chunked")
    await write(h11.Response(status_code=reply.status, headers=[*reply.fields, framing]))
    for piece in reply.pieces:
        await write(h11.Data(data=piece))
    if reply.cut:
        await asyncio.sleep(BEFORE_A_CUT_S)
        return False
    await write(h11.EndOfMessage())
    return True


async def _next(peer: h11.Connection, reader: asyncio.StreamReader) -> object:
    while (event := peer.next_event()) is h11.NEED_DATA:
        peer.receive_data(await reader.read(READ))
    return event
