"""The sidecar's own workers as supervised processes: `python -m sidecar serve --worker N`."""

import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from sidecar.config.loading import Settings
from sidecar.supervision.ports import Address
from sidecar.supervision.probes import http_ok
from sidecar.supervision.process import ChildSpec, Probe

_HANGS_AFTER_S = 10.0


def stop_within_s(settings: Settings) -> float:
    """How long a worker may take to end, in seconds: its drain, which it bounds itself, and some more."""
    return settings.drain_s + _HANGS_AFTER_S


def worker_name(index: int, workers: int) -> str:
    """What a worker is called in the logs; a single one needs no number."""
    return "sidecar" if workers == 1 else f"sidecar.{index}"


def worker_argv(config: Path | None, index: int) -> tuple[str, ...]:
    """The command of worker `index`. `-P`: a file in the current directory must not pass for a library."""
    options = () if config is None else ("--config", str(config))
    return (sys.executable, "-P", "-m", "sidecar", "serve", "--worker", str(index), *options)


def ready(admin: Address) -> Probe:
    """Asks the worker whose admin listener this is whether its store and its gRPC server answer."""
    return http_ok(admin, "/readyz")


def embedded_worker(
    config: Path | None, environ: Mapping[str, str], settings: Settings, admin: Address, index: int
) -> ChildSpec:
    """A worker of `up`: ready when store and gRPC server answer, and gone at once should `up` be killed.

    It need not warn that Envoy's configuration is out of date: `up` renders that (`stack`).
    """
    return ChildSpec(
        name=worker_name(index, settings.server.workers),
        argv=(*worker_argv(config, index), "--envoy-follows"),
        environ=environ,
        probe=ready(admin),
        stop_within_s=stop_within_s(settings),
    )


def production_worker(config: Path | None, settings: Settings, index: int) -> ChildSpec:
    """A worker of `serve`: started when it lives, whether its store answers yet or not.

    Its log goes straight out, line by line as it is. Should the supervisor be killed, it drains and ends.
    """
    admin = settings.server.admins[index]
    return ChildSpec(
        name=worker_name(index, settings.server.workers),
        argv=worker_argv(config, index),
        probe=http_ok(Address(admin.host, admin.port), "/healthz"),
        stop_within_s=stop_within_s(settings),
        explain=lambda _: "its own last line says why",
        when_orphaned=signal.SIGTERM,
        captured=False,
    )
