"""Exchanges through a real Envoy, of which a test takes every step: the client's and the upstream's."""

import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.stack.live import Fields, Head, Message, Side
from tests.stack.live_http1 import http1_client
from tests.stack.live_http2 import http2_client
from tests.stack.live_upstream import LiveUpstream, running_live_upstream
from tests.stack.up import Up, running_up

CONFIG = """
store: {timeout: 5s} # nothing here is about it, and the machine may be busy
policies:
  - name: small
    match: {methods: [POST], paths: ["/small/**"]}
    max_response_body: 1KiB
  - name: retrying
    match: {methods: [POST], paths: ["/retrying/**"]}
    unknown: retry
  - name: any
    match: {methods: [POST, HEAD]}
    exclude_response_headers: []
"""
HTTP1, HTTP2 = "HTTP/1.1", "HTTP/2"
OWN = frozenset({"date", "idempotent-replayed", "x-envoy-upstream-service-time", "transfer-encoding"})
"""Fields that a first response and its replay have of their own (CONTRACT §4), or by their framing alone."""


@dataclass
class LiveScene:
    """A stack in front of an upstream that speaks `upstream_http`, and clients of either protocol."""

    up: Up
    upstream: LiveUpstream
    upstream_http: str

    @contextlib.asynccontextmanager
    async def request(
        self,
        http: str,
        target: str,
        key: str | None,
        *fields: tuple[str, str],
        method: str = "POST",
        ends: bool = True,
    ) -> AsyncIterator[Side]:
        """Send the head of a request over this protocol; with `ends` it is all of it."""
        url = httpx.URL(self.up.url)
        connect = http1_client if http == HTTP1 else http2_client
        keyed: Fields = () if key is None else (("idempotency-key", key),)
        async with connect(url.host, url.port or 80) as client:
            own = self._framing(http, url, fields, ends=ends)
            start = {":method": method, ":path": target}
            if http == HTTP2:
                start |= {":scheme": "http", ":authority": url.netloc.decode()}
            await client.send_head(Head(start, (*own, *keyed, *fields)), ends=ends)
            yield client

    @staticmethod
    def _framing(http: str, url: httpx.URL, fields: Fields, *, ends: bool) -> Fields:
        """What HTTP/1.1 has to say for itself of host and body."""
        if http == HTTP2:
            return ()
        host = ("host", url.netloc.decode())
        if ends:
            return (host, ("content-length", "0"))
        sized = any(name == "content-length" for name, _ in fields)
        return (host,) if sized else (host, ("transfer-encoding", "chunked"))

    async def answer(self, http: str, target: str, key: str, body: bytes = b"x") -> Message:
        """What a request that asks for nothing of the upstream is answered."""
        length = ("content-length", str(len(body)))
        async with self.request(http, target, key, length, ends=False) as client:
            if body:
                await client.send(body, ends=True)
            else:
                await client.end()
            return await client.message()


def new_target(prefix: str = "orders") -> str:
    """A target that no other test uses."""
    return f"/{prefix}/{uuid.uuid4().hex}"


def new_key() -> str:
    """A key that no other test uses."""
    return f'"{uuid.uuid4()}"'


def kind(message: Message) -> tuple[int, str]:
    """The status, and what sort of answer it is: a problem's type, replayed, or first."""
    if message.head.values("content-type") == ["application/problem+json"]:
        problem = httpx.Response(message.head.status, content=message.body).json()
        return message.head.status, problem["type"].removeprefix("urn:idempotency:")
    return message.head.status, "replayed" if message.head.values("idempotent-replayed") else "first"


def compared(message: Message) -> tuple[int, Fields, bytes, Fields]:
    """What a replay has to have in common with the first response."""
    fields = tuple(sorted(pair for pair in message.head.fields if pair[0] not in OWN))
    return message.head.status, fields, message.body, message.trailers


@contextlib.asynccontextmanager
async def live_scene(upstream_http: str, store: str, directory: Path) -> AsyncIterator[LiveScene]:
    """Run the stack, and its upstream in this event loop, while the context lasts."""
    async with running_live_upstream() as upstream:
        scheme = "h2c" if upstream_http == HTTP2 else "http"
        origin = f"{scheme}://127.0.0.1:{upstream.port}"
        with running_up(origin, directory, "--store", store, config=CONFIG) as up:
            yield LiveScene(up, upstream, upstream_http)
