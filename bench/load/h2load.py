"""Load by nghttp2's h2load: HTTP/2, for requests that are all the same."""

import re

from bench.errors import BenchError
from bench.load.outcome import Outcome
from bench.load.request import Keys, Request
from bench.load.wrk import output_of
from bench.programs import needed

_STREAMS = 8

_FINISHED = re.compile(r"finished in ([\d.]+)(us|ms|s),")
_REQUESTS = re.compile(r"requests: (\d+) total, .*?(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored")
_CODES = re.compile(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx")
_UNIT_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def find_h2load() -> str:
    """Where h2load is.

    Raises:
        UnavailableError: Nowhere.
    """
    return needed("h2load", "nghttp2-client")


async def burst(request: Request, *, streams: int, seconds: int) -> Outcome:
    """Send as many requests as are answered within a time, `streams` at once, eight on each connection.

    Raises:
        BenchError: h2load failed; or a key for every request is wanted, which it cannot make.
    """
    if request.keys is Keys.UNIQUE:
        raise BenchError("h2load sends one request again and again; a key of its own for each needs wrk")
    connections = max(1, streams // _STREAMS)
    command = [
        *(find_h2load(), "--threads", "1", "--clients", str(connections)),
        *("--max-concurrent-streams", str(streams // connections), "--duration", str(seconds)),
        *("--header", ":method: POST", "--header", "content-type: application/json"),
        *(("--header", f"idempotency-key: {request.key}") if request.keys is Keys.FIXED else ()),
        *(("--data", str(request.body)) if request.body else ()),
        request.url,
    ]
    return parse(await output_of(command), seconds)


def parse(text: str, seconds: int) -> Outcome:
    """The outcome in what h2load printed.

    Args:
        text: Its output.
        seconds: How long the requests were sent: h2load's own figure includes its end.

    Raises:
        BenchError: The lines that matter are not there.
    """
    requests, codes = _REQUESTS.search(text), _CODES.search(text)
    if requests is None or codes is None:
        raise BenchError(f"h2load gave no figures: {text.strip()[-300:]}")
    _, done, _, _, errored = map(int, requests.groups())
    answered, errors = sum(map(int, codes.groups())), int(codes[3]) + int(codes[4])
    return Outcome(requests=answered, seconds=seconds, errors=errors, lost=errored + done - answered)
