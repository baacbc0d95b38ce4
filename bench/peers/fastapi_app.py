"""The FastAPI service, bare or with a peer's library; runs in that peer's environment, not in the project's.

    python fastapi_app.py bare|idemkit|idemgate PORT STORE_URL

Each library as its own documentation sets it up, on uvicorn with its faster parser and loop, without a log of
requests. `POST /SIZE/anything` is answered with SIZE bytes of JSON; `GET /_counts` tells how many there were.
"""

import sys
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI, Request, Response


class Service:
    """The endpoint and its count. The response is prepared: what is measured is not a JSON encoder."""

    def __init__(self) -> None:
        self.executed = 0
        self._bodies: dict[int, bytes] = {}

    async def answer(self, size: int, request: Request) -> Response:
        """Read the request, count it, answer."""
        await request.body()
        self.executed += 1
        if size not in self._bodies:
            self._bodies[size] = _body_of(size)
        return Response(self._bodies[size], media_type="application/json")

    async def counts(self) -> dict[str, int]:
        """What was executed."""
        return {"executed": self.executed, "held": 0}


def _body_of(size: int) -> bytes:
    head, tail = b'{"id":"po_1","status":"settled","note":"', b'"}'
    return head + b"x" * (size - len(head) - len(tail)) + tail if size else b""


def bare(_: str) -> FastAPI:
    """Without any library: what the service costs anyway."""
    app, service = FastAPI(), Service()
    app.add_api_route("/_counts", service.counts, methods=["GET"])
    app.add_api_route("/{size}/{rest:path}", service.answer, methods=["POST"])
    return app


def with_idemkit(store: str) -> FastAPI:
    """With idemkit's middleware, callers told apart by their Authorization as the sidecar does."""
    from idemkit import HttpConfig, IdempotencyMiddleware, RedisBackend  # noqa: PLC0415 - only in this peer's environment

    app = bare(store)
    config = HttpConfig(scope=lambda request: request.headers.get("authorization", "anonymous"))
    app.add_middleware(IdempotencyMiddleware, backend=RedisBackend.from_url(store), config=config)
    return app


def with_idemgate(store: str) -> FastAPI:
    """With idemgate's route class and its decorator on the endpoint."""
    from idemgate import IdempotencyRoute, idempotent  # noqa: PLC0415 - only in this peer's environment
    from idemgate.redis_store import RedisAcquirer  # noqa: PLC0415 - only in this peer's environment
    from redis.asyncio import Redis  # noqa: PLC0415 - only in this peer's environment

    app, service = FastAPI(), Service()
    app.state.idempotency_store = RedisAcquirer(Redis.from_url(store, decode_responses=False))
    app.add_api_route("/_counts", service.counts, methods=["GET"])
    app.router.route_class = IdempotencyRoute

    async def answer(size: int, request: Request) -> Response:
        return await service.answer(size, request)

    app.add_api_route("/{size}/{rest:path}", idempotent(ttl=86_400)(answer), methods=["POST"])
    return app


APPS: dict[str, Callable[[str], FastAPI]] = {
    "bare": bare,
    "idemkit": with_idemkit,
    "idemgate": with_idemgate,
}

if __name__ == "__main__":
    kind, port, store_url = sys.argv[1:]
    uvicorn.run(
        APPS[kind](store_url),
        host="127.0.0.1",
        port=int(port),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
