"""One HTTP exchange as a test plays it, step by step, at either end: what is said, and what is heard.

`live_http1.py` and `live_http2.py` say it in the two protocols. With both ends in one event loop a test can
say what comes before what, and measure how long anything takes between them.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

PATIENCE_S = 10.0
"""How long a side waits for what must come; nothing takes that long when all is well."""
Fields: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Head:
    """The head of a message; `start` holds what HTTP/2 calls its pseudo-header fields (RFC 9113 §8.3)."""

    start: Mapping[str, str]
    fields: Fields = ()

    @property
    def status(self) -> int:
        """Of a response; below 200 it is an interim one, and another head follows."""
        return int(self.start[":status"])

    def values(self, name: str) -> list[str]:
        """All values of a field, in order."""
        return [value for field_name, value in self.fields if field_name == name]


@dataclass(frozen=True)
class Data:
    """The next bytes of the body, cut as the network likes."""

    data: bytes


@dataclass(frozen=True)
class End:
    """The message is whole."""

    trailers: Fields = ()


@dataclass(frozen=True)
class Gone:
    """The other side went away, or reset the message, before it was whole."""


Heard: TypeAlias = Head | Data | End | Gone


@dataclass
class Message:
    """One message as it came, with the statuses of the interim heads before it; not `whole`: it broke off."""

    head: Head
    body: bytes = b""
    trailers: Fields = ()
    interim: list[int] = field(default_factory=list)
    whole: bool = False


def response(status: int, *fields: tuple[str, str]) -> Head:
    """The head of a response."""
    return Head({":status": str(status)}, fields)


class Side(ABC):
    """One side of one exchange: the client's or the upstream's."""

    @abstractmethod
    async def send_head(self, head: Head, *, ends: bool = False) -> None:
        """Send a head; with `ends` it is all of the message."""

    @abstractmethod
    async def send(self, data: bytes, *, ends: bool = False) -> None:
        """Send a piece of the body; with `ends` its end comes along, otherwise apart."""

    @abstractmethod
    async def end(self, trailers: Fields = ()) -> None:
        """End the message."""

    @abstractmethod
    async def leave(self) -> None:
        """Go away: close the connection (HTTP/1.1), reset the stream (HTTP/2)."""

    @abstractmethod
    async def _next(self) -> Heard:
        """What the other side says next."""

    async def hear(self) -> Heard:
        """What the other side says next; fails where it says nothing."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._next()

    async def hear_head(self) -> Head:
        """The next head, be it an interim one."""
        heard = await self.hear()
        assert isinstance(heard, Head), heard
        return heard

    async def hear_bytes(self, wanted: bytes) -> None:
        """Read so many bytes of the body as are wanted; fails where others come."""
        got = b""
        while len(got) < len(wanted):
            heard = await self.hear()
            assert isinstance(heard, Data), heard
            got += heard.data
        assert got == wanted

    async def rest(self) -> tuple[bytes, End | Gone]:
        """The rest of the body, and how it ended."""
        body = bytearray()
        while isinstance(heard := await self.hear(), Data):
            body += heard.data
        assert isinstance(heard, End | Gone), heard
        return bytes(body), heard

    async def message(self) -> Message:
        """All of a message that has not begun to be heard."""
        interim = []
        while (head := await self.hear_head()).start.get(":status", "")[:1] == "1":
            interim.append(head.status)
        body, end = await self.rest()
        trailers = end.trailers if isinstance(end, End) else ()
        return Message(head, body, trailers, interim, isinstance(end, End))
