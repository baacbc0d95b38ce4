"""Load by wrk: HTTP/1.1, a key of its own for every request where that is wanted."""

import asyncio
import json
from pathlib import Path

from bench.errors import BenchError
from bench.load.outcome import Outcome
from bench.load.request import Request
from bench.programs import needed

_SCRIPT = Path(__file__).with_name("keys.lua")


def find_wrk() -> str:
    """Where wrk is.

    Raises:
        UnavailableError: Nowhere.
    """
    return needed("wrk", "wrk")


async def burst(request: Request, *, connections: int, seconds: int) -> Outcome:
    """Send as many requests as are answered within a time, `connections` at once, from one thread.

    Raises:
        BenchError: wrk failed, or could not reach the address.
    """
    command = [
        *(find_wrk(), "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"),
        *("--timeout", "20s", "--script", str(_SCRIPT), request.url),
        *("--", request.keys.value, request.key, str(request.body or "-")),
    ]
    return parse(await output_of(command))


async def output_of(command: list[str]) -> str:
    """What a generator prints.

    Raises:
        BenchError: It ended with an error, whose message is the generator's.
    """
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    text = output.decode(errors="replace")
    if process.returncode != 0:
        raise BenchError(f"{command[0]} failed: {text.strip()[-300:]}")
    return text


def parse(text: str) -> Outcome:
    """The outcome in what wrk printed: the JSON line of `keys.lua`.

    Raises:
        BenchError: There is none.
    """
    line = next((line for line in text.splitlines() if line.startswith("{")), None)
    if line is None:
        raise BenchError(f"wrk gave no figures: {text.strip()[-300:]}")
    figures = json.loads(line)
    return Outcome(
        requests=figures["requests"],
        seconds=figures["duration_us"] / 1e6,
        errors=figures["status_errors"],
        lost=figures["lost"],
        p50_us=figures["p50_us"],
        p99_us=figures["p99_us"],
    )
