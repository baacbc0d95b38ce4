"""Each peer as a subject: what is started, in which environment."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from bench import environments
from bench.rig import CPP_NOOP, Rig
from bench.subject import Subject

FASTAPI = "FastAPI"
IDEMKIT = "FastAPI + idemkit"
IDEMGATE = "FastAPI + idemgate"
EXPRESS = "Express"
NODE_IDEMPOTENCY = "Express + node-idempotency"

_APP = str(Path(__file__).with_name("fastapi_app.py"))


async def fastapi(rig: Rig) -> Subject:
    """The bare service, in idemkit's environment: the two are compared."""
    python = await environments.python_of("idemkit")
    return await rig.peer(FASTAPI, (str(python), _APP, "bare"))


async def idemkit(rig: Rig) -> Subject:
    """The same service with idemkit."""
    python = await environments.python_of("idemkit")
    return await rig.peer(IDEMKIT, (str(python), _APP, "idemkit"))


async def idemgate(rig: Rig) -> Subject:
    """The same service with idemgate."""
    python = await environments.python_of("idemgate")
    return await rig.peer(IDEMGATE, (str(python), _APP, "idemgate"))


async def express(rig: Rig) -> Subject:
    """The bare Express service."""
    node, script = await environments.express()
    return await rig.peer(EXPRESS, (node, str(script), "bare"))


async def node_idempotency(rig: Rig) -> Subject:
    """The Express service with @node-idempotency/core."""
    node, script = await environments.express()
    return await rig.peer(NODE_IDEMPOTENCY, (node, str(script), "idempotent"))


async def cpp_noop(rig: Rig) -> Subject:
    """Envoy with the C++ no-op processor."""
    return await rig.processor(CPP_NOOP, (str(await environments.cpp_noop()),))


PEERS: Mapping[str, Callable[[Rig], Awaitable[Subject]]] = {
    FASTAPI: fastapi,
    IDEMKIT: idemkit,
    IDEMGATE: idemgate,
    EXPRESS: express,
    NODE_IDEMPOTENCY: node_idempotency,
    CPP_NOOP: cpp_noop,
}
"""How to start what may be missing on a machine; each raises `UnavailableError` where it is."""
