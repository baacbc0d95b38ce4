"""The store of a run: a Valkey that can be frozen and killed, and has written down what it acknowledged."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

from sidecar.supervision import launcher
from sidecar.supervision.valkey import find_valkey
from tests.stack.ports import lasting_port

START_LIMIT_S = 20.0
_PAUSE_S = 0.02


class ChaosStore:
    """One Valkey on one port, `appendfsync always`: started, frozen, killed, started again on its file."""

    def __init__(self, directory: Path) -> None:
        """It works in `directory`, which exists."""
        self.port = lasting_port()
        self._directory = directory
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """The URL of its database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        """Run it until it answers, its file read.

        Raises:
            RuntimeError: It ended instead, or did not answer in time.
        """
        log = self._directory / "valkey.log"
        with log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self._command(), stdout=output, stderr=output, cwd=self._directory, start_new_session=True
            )
        clock = asyncio.get_running_loop().time
        deadline = clock() + START_LIMIT_S
        while not await self._answers():
            if self._process.returncode is not None or clock() > deadline:
                raise RuntimeError(f"Valkey did not start:\n{log.read_text(errors='replace')}")
            await asyncio.sleep(_PAUSE_S)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it lives."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def kill(self) -> None:
        """End it as a crash would; what it acknowledged stands in its file."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            await self._process.wait()

    def _command(self) -> tuple[str, ...]:
        """Through the launcher: should this process be killed, the kernel ends Valkey with it."""
        return (
            *(sys.executable, "-I", "-S", launcher.__file__, str(os.getpid()), str(int(signal.SIGKILL))),
            *(str(find_valkey()), "--port", str(self.port), "--bind", "127.0.0.1"),
            *("--dir", str(self._directory), "--save", "", "--appendonly", "yes", "--appendfsync", "always"),
        )

    async def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                writer.write(b"PING\r\n")
                async with asyncio.timeout(1):
                    return await reader.readline() == b"+PONG\r\n"
            finally:
                writer.transport.abort()
        return False
