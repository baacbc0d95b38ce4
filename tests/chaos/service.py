"""What the upstream and its two protocols tell each other."""

from dataclasses import dataclass
from typing import Protocol

from tests.chaos.history import Fields

READ = 65_536
PIECE = 16_384
BEFORE_A_CUT_S = 0.05
"""How long a response stands half before it is cut, so that its half has been passed on."""


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request; header names are lower-case."""

    target: str
    headers: Fields
    payload: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """A response; `sized` announces its length, `cut` breaks it off in the middle."""

    status: int
    fields: Fields
    body: bytes
    sized: bool = True
    cut: bool = False

    @property
    def pieces(self) -> list[bytes]:
        """What of the body is sent, in pieces."""
        sent = self.body[: len(self.body) // 2] if self.cut else self.body
        return [sent[start : start + PIECE] for start in range(0, len(sent), PIECE)]


class Service(Protocol):
    """What stands behind a connection."""

    async def answer(self, request: Request) -> Reply | None:
        """Execute a whole request; None: break off without a response."""
        ...

    def broke_off(self) -> None:
        """A request ended before it was whole."""
        ...

    def refuses_streams(self) -> bool:
        """Whether a request over HTTP/2 is to be refused unread."""
        ...
