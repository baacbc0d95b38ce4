"""Noticing that a configuration file has changed, in whatever way that was done (CONTRACT §3).

A path is followed to the file that it names at that moment, so these all come to the same: an edit in place,
another file renamed over it, and what a kubelet does to a ConfigMap's volume, where the path is a link to
`..data/FILE` and `..data`, itself a link to a directory, is replaced by another link. Notifications of the
kernel would have to be asked for along that whole chain, and do not come from every kind of volume; a `stat`
a second costs microseconds.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import TypeAlias

from sidecar.config.loading import Settings, load

POLL_S = 1.0
"""How often the file is looked at, in seconds."""
SETTLE_S = 0.2
"""How long it has to be left alone before it is read, in seconds."""

_STEADY_LOOKS = 2
_GONE_LOOKS = 10

Signature: TypeAlias = tuple[int, int, int, int, int]
Wait: TypeAlias = Callable[[asyncio.Event, float], Awaitable[bool]]


class Look(Enum):
    """What a look at the file has shown."""

    SAME = "same"
    """It is as it was."""
    SETTLING = "settling"
    """It is not, and may still be on its way: look again soon."""
    CHANGED = "changed"
    """It holds something else, or has been gone for so long that this is no moment between two files."""


class FileWatch:
    """What a path names, compared with what it named before: by `stat`, and where that differs by content.

    A file that is edited in place can be read half-written, and half a list of policies may well be a valid
    one. So it has to look the same twice, `SETTLE_S` apart. That also sees to the clock of the file system: a
    write after the second look bears a later time than what the first one saw, unless such times are counted
    in whole seconds.
    """

    def __init__(self, path: Path) -> None:
        """Take the file as it is now for what is known."""
        self._path = path
        self.take()

    def take(self) -> None:
        """Take the file as it is now for what is known; *before* it is read, so that no change is missed."""
        self._known = self._seen = self._signature()
        self._looks = 0
        self._content = self._digest()

    def look(self) -> Look:
        """Compare; to be repeated after `POLL_S`, or after `SETTLE_S` where it is settling. Never raises."""
        now = self._signature()
        self._looks = self._looks + 1 if now == self._seen else 1
        self._seen = now
        if now == self._known:
            return Look.SAME
        if self._looks < (_GONE_LOOKS if now is None else _STEADY_LOOKS):
            return Look.SETTLING
        self._known, before, self._content = now, self._content, self._digest()
        return Look.SAME if self._content == before else Look.CHANGED

    def _signature(self) -> Signature | None:
        try:
            found = self._path.stat()
        except (OSError, ValueError):
            return None
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size

    def _digest(self) -> bytes | None:
        """Of the content; None where it cannot be read."""
        try:
            with self._path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest()
        except (OSError, ValueError):
            return None


async def asked_within(asked: asyncio.Event, seconds: float) -> bool:
    """Wait until it is asked, or for so long; whether it was."""
    try:
        async with asyncio.timeout(seconds):
            await asked.wait()
    except TimeoutError:
        return False
    return True


class WatchedConfig:
    """A configuration file that can be loaded again, and tells when that is worth it.

    What it takes from elsewhere, files of secrets and of TLS, is read along with it and not watched.

    Args:
        path: The file, as `--config` names it.
        environ: The variables over it, as they are at each loading.
        wait: Waits for an event, but not for longer than so many seconds.
    """

    def __init__(self, path: Path, environ: Mapping[str, str], *, wait: Wait = asked_within) -> None:
        """Make it before the first loading, so that no change after that is missed."""
        self.path = path
        self._environ = environ
        self._wait = wait
        self._asked = asyncio.Event()
        self._file = FileWatch(path)

    def load(self) -> Settings:
        """The configuration as it is now. Takes half a second and more for a thousand policies.

        Raises:
            ConfigError: It cannot be used; holds everything that is wrong with it.
        """
        self._file.take()
        return load(self.path, self._environ)

    def ask(self) -> None:
        """Have `changes` yield at once, whether anything has changed or not."""
        self._asked.set()

    async def changes(self) -> AsyncIterator[None]:
        """One item for every time that it should be loaded again."""
        pace = POLL_S
        while True:
            if await self._wait(self._asked, pace):
                self._asked.clear()
                look = Look.CHANGED
            else:
                look = self._file.look()
            pace = SETTLE_S if look is Look.SETTLING else POLL_S
            if look is Look.CHANGED:
                yield
