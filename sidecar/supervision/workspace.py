"""The directory a stack works in: private, short enough for socket paths, and gone afterwards."""

import asyncio
import contextlib
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from sidecar.supervision import sweeper
from sidecar.supervision.errors import StartupError

PREFIX = "idempotency-"

_LONGEST_ROOT = 60
"""Bytes; a unix socket's whole path is limited to 107 (103 on macOS)."""


@contextlib.asynccontextmanager
async def workspace() -> AsyncIterator[Path]:
    """A new directory of mode 0700, removed at the end, even should this process be killed (`sweeper`)."""
    directory = _create()
    try:
        sweeping = await _start_sweeper(directory)
    except BaseException:  # being cancelled (a signal during the start) ends the sweeper before it sweeps
        shutil.rmtree(directory, ignore_errors=True)
        raise
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        sweeping.stdin.close()  # type: ignore[union-attr] # stdin=PIPE: it is there
        await asyncio.shield(sweeping.wait())


def _create() -> Path:
    root = Path(tempfile.gettempdir())
    if len(bytes(root)) > _LONGEST_ROOT:
        root = Path("/tmp")  # noqa: S108 - mkdtemp makes it private and unpredictable there too
    try:
        return Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
    except OSError as error:
        raise StartupError(f"cannot create a directory in {root}: {error.strerror}; set TMPDIR") from None


async def _start_sweeper(directory: Path) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            sweeper.__file__,
            str(directory),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # the terminal's Ctrl-C is not for it
        )
    except OSError as error:
        raise StartupError(f"cannot start {sys.executable}: {error.strerror}") from error
