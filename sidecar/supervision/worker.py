"""The sidecar's own workers as supervised processes: `python -m sidecar serve --worker N`."""

import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from sidecar.supervision.ports import Address
from sidecar.supervision.probes import http_ok
from sidecar.supervision.process import ChildSpec

_STOP_WITHIN_S = 65.0
"""A worker bounds its own drain; this is for one that hangs."""


def worker_name(index: int, workers: int) -> str:
    """What a worker is called in the logs; a single one needs no number."""
    return "sidecar" if workers == 1 else f"sidecar.{index}"


def worker_argv(config: Path | None, index: int) -> tuple[str, ...]:
    """The command of worker `index`. `-P`: a file in the current directory must not pass for a library."""
    options = () if config is None else ("--config", str(config))
    return (sys.executable, "-P", "-m", "sidecar", "serve", "--worker", str(index), *options)


def embedded_worker(
    config: Path | None, environ: Mapping[str, str], admin: Address, index: int, workers: int
) -> ChildSpec:
    """A worker of `up`: ready when store and gRPC server answer, and gone at once should `up` be killed."""
    return ChildSpec(
        name=worker_name(index, workers),
        argv=worker_argv(config, index),
        environ=environ,
        probe=http_ok(admin, "/readyz"),
        stop_within_s=_STOP_WITHIN_S,
    )


def production_worker(config: Path | None, admin: Address, index: int, workers: int) -> ChildSpec:
    """A worker of `serve`: started when it lives, whether its store answers yet or not.

    Its log goes straight out, line by line as it is. Should the supervisor be killed, it drains and ends.
    """
    return ChildSpec(
        name=worker_name(index, workers),
        argv=worker_argv(config, index),
        probe=http_ok(admin, "/healthz"),
        stop_within_s=_STOP_WITHIN_S,
        explain=lambda _: "its own last line says why",
        when_orphaned=signal.SIGTERM,
        captured=False,
    )
