"""How to find out that a process is ready: each probe asks once and says why not, or None when it is."""

import asyncio
from pathlib import Path

import aiohttp

from sidecar.supervision.ports import Address
from sidecar.supervision.process import Probe

_WITHIN_S = 2.0
_SHOWN = 200
_RELOADS = "idempotency_config_reloads_total"


def http_ok(address: Address, path: str) -> Probe:
    """Ready when `GET http://address/path` answers 200."""

    async def probe() -> str | None:
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(_WITHIN_S)) as session:
                return await _why_not(session, f"http://{address.reachable}{path}")
        except (OSError, aiohttp.ClientError):
            return f"http://{address.reachable}{path} does not answer"

    return probe


def envoy_live(admin: Path) -> Probe:
    """Ready when the Envoy with this admin socket is initialised: `/ready` answers 200 (LIVE)."""

    async def probe() -> str | None:
        try:
            async with _admin_session(admin) as session:
                return await _why_not(session, "http://envoy/ready")
        except (OSError, aiohttp.ClientError):
            return "its admin endpoint does not answer"

    return probe


def accepts(address: Address) -> Probe:
    """Ready when a TCP connection to the address is accepted."""

    async def probe() -> str | None:
        reachable = address.reachable
        try:
            async with asyncio.timeout(_WITHIN_S):
                _, writer = await asyncio.open_connection(reachable.host, reachable.port)
        except OSError:  # TimeoutError is one
            return f"{address} does not accept connections"
        writer.transport.abort()
        return None

    return probe


def pongs(address: Address, password: str) -> Probe:
    """Ready when the Valkey or Redis at the address takes the password and answers a PING."""

    async def probe() -> str | None:
        try:
            async with asyncio.timeout(_WITHIN_S):
                reader, writer = await asyncio.open_connection(address.host, address.port)
                writer.write(f"AUTH {password}\r\nPING\r\n".encode())
                answers = [await reader.readline(), await reader.readline()]
                writer.transport.abort()
        except OSError:
            return f"{address} does not answer"
        refusal = next((line for line in answers if line not in (b"+OK\r\n", b"+PONG\r\n")), None)
        return None if refusal is None else f"{address} answers {refusal.decode(errors='replace').strip()}"

    return probe


async def reloads_of(admin: Address) -> int | None:
    """How often the worker with this admin listener has reloaded; None where it does not answer."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(_WITHIN_S)) as session,
            session.get(f"http://{admin.reachable}/metrics") as answer,
        ):
            lines = (await answer.text()).splitlines()
    except (OSError, aiohttp.ClientError):
        return None
    samples = [line.rpartition(" ")[2] for line in lines if line.startswith(f"{_RELOADS}{{")]
    return sum(int(float(value)) for value in samples)


def all_of(*probes: Probe) -> Probe:
    """Ready when all are; the first that is not says why."""

    async def probe() -> str | None:
        for each in probes:
            if (reason := await each()) is not None:
                return reason
        return None

    return probe


async def drain_envoy(admin: Path) -> None:
    """Make the Envoy with this admin socket accept nothing new, and wait until no request is in flight.

    Returns as well when it does not answer: there is nothing left to wait for.
    """
    try:
        async with _admin_session(admin) as session:
            await (await session.post("http://envoy/drain_listeners")).read()
            while await _requests_in_flight(session):  # noqa: ASYNC110 - Envoy offers nothing to wait for
                await asyncio.sleep(0.05)
    except (OSError, aiohttp.ClientError):
        return


async def _requests_in_flight(session: aiohttp.ClientSession) -> int:
    async with session.get(r"http://envoy/stats?filter=^http\..*\.downstream_rq_active$") as answer:
        lines = (await answer.text()).splitlines()
    gauges = (line.rpartition(":") for line in lines if not line.startswith("http.admin."))
    return sum(int(value) for _, _, value in gauges if value.strip().isdigit())


def _admin_session(admin: Path) -> aiohttp.ClientSession:
    connector = aiohttp.UnixConnector(path=str(admin))
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(_WITHIN_S))


async def _why_not(session: aiohttp.ClientSession, url: str) -> str | None:
    async with session.get(url) as answer:
        if answer.status == 200:
            return None
        said = " ".join((await answer.text()).split())[:_SHOWN]
        return f"{answer.url.path} answers {answer.status}: {said}"
