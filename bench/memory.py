"""What exchanges take of the sidecar's memory: a thousand at once, and a large upload."""

import gc
from dataclasses import dataclass

from bench import procfs, upstream_control
from bench.errors import BenchError
from bench.load.client import connected
from bench.subject import Role, Subject
from bench.upstream import body_of

IN_FLIGHT = 1000
UPLOAD_MB = 50
_AT_ONCE = 50
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Of the sidecar's workers together, in MiB."""

    subject: str
    rss_idle_mib: float
    rss_in_flight_mib: float
    """Resident with a thousand new keys whose responses have not come yet."""
    upload_rss_mib: float
    """How much the most that was resident during a 50 MB upload with a new key is above what was before."""


async def measure(subject: Subject, keys: str) -> MemoryUse:
    """Upload first, then hold a thousand requests; `keys` begins all keys.

    Raises:
        BenchError: Something was not answered with 200.
    """
    upload = await _upload(subject, f"{keys}-upload")
    idle = _rss(subject)
    return MemoryUse(subject.name, idle, await _in_flight(subject, keys), upload)


def _rss(subject: Subject) -> float:
    return round(procfs.rss_bytes(subject.processes[Role.PROCESSOR]) / _MIB, 2)


async def _upload(subject: Subject, key: str) -> float:
    pids = subject.processes[Role.PROCESSOR]
    body = b"x" * (UPLOAD_MB * 1_000_000)
    async with connected(subject.url) as (client,):
        procfs.reset_peak_rss(pids)
        before = procfs.rss_bytes(pids)
        response = await client.request("/100/upload", key, body)
        peak = procfs.peak_rss_bytes(pids)
    if response.status != 200:
        raise BenchError(f"{subject.name}: an upload of {UPLOAD_MB} MB was answered {response.status}")
    del body
    gc.collect()
    return round((peak - before) / _MIB, 2)


async def _in_flight(subject: Subject, keys: str) -> float:
    body = body_of(100)
    async with connected(subject.url, IN_FLIGHT) as clients:
        for number, client in enumerate(clients, start=1):
            client.send("/100/hold", f"{keys}-{number}", body)
            if number % _AT_ONCE == 0:  # how many there are is the question, not how fast they come
                await upstream_control.until_held(subject.executes_at, number)
        held = _rss(subject)
        await upstream_control.release(subject.executes_at)
        answers = [await client.receive() for client in clients]
    if any(answer.status != 200 for answer in answers):
        raise BenchError(f"{subject.name}: of {IN_FLIGHT} requests at once, some were not answered with 200")
    return held
