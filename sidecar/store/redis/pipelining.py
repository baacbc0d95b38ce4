"""One connection that carries any number of commands at a time: written together, answered in order.

Which reply is whose. RESP 2, without pushes and subscriptions, answers every command with exactly one reply,
in the order in which the commands arrived (https://redis.io/docs/latest/develop/reference/protocol-spec/).
So the place in the queue says whose a reply is, provided that a place is given up only with its reply. It is:
a command whose caller was cancelled keeps its place until it is answered; one whose time is over leaves the
queue, but a reply is still owed to it and counted (`_overdue`), and deadlines are in the order of the queue,
so those owed always come before everybody who still waits. What was not sent yet is the end of the queue, and
what leaves the queue unsent is not sent at all. A reply that cannot be anybody's, because no
command that was sent is without one, ends the connection, as does anything that is not RESP. A connection
that ended takes its parser, with whatever part of a reply it holds, with it.
"""

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

import hiredis
from redis.asyncio.connection import DefaultParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, MasterDownError, ReadOnlyError

from sidecar.store.redis.packing import JOINED_BELOW, Packed, size

MOST_OUTSTANDING = 16_384
"""How many commands may be without a reply on one connection."""

MOST_UNSENT_BYTES = 64 * 1024 * 1024
"""With so many bytes waiting for the server to read, no further command is taken."""

Reply: TypeAlias = asyncio.Future[Any]
"""What a command is answered with; fails with a `RedisError`, an `OSError` or a `TimeoutError`."""

Told: TypeAlias = Callable[[object], None]
"""Told what a command is answered with, or the exception that it fails with: one of those, or a bug's."""

_PARTIAL = object()
_AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER: close without delivering what is still to be sent."""
_parse_error: Callable[[str], Exception] = DefaultParser.parse_error
_DEMOTED = (ReadOnlyError, MasterDownError)
"""What a server answers that is no primary, or none any more."""


class OverloadError(Exception):
    """A command was not taken: too much waits already. Nothing of it was sent."""


class Pipeline(asyncio.Protocol):
    """One connection, from before it is open to after it is closed.

    Commands may be sent at once; they wait until the connection is open (`begin`), each within its own time.

    It is *retired* when the first command in the queue got no reply in time. Nothing tells a connection that
    is silently gone from one that is slow, and everything behind that command waits for it: so no further
    command is taken, while those on their way may still be answered, each within its own time. It closes
    itself when nobody waits any more; the replies still owed are wanted by nobody.

    It is retired as well when the server says that it is a replica. After a failover its address may lead to
    another server, which only a new connection finds; the old one stays open as long as the replica lives.

    There is no timer for each command: whoever sends gives every command the same time, so the first in the
    queue is the first to be overdue, and one timer that looks at it is enough.

    Args:
        ended: Told once, when the connection is over.
    """

    def __init__(self, ended: Callable[["Pipeline"], None]) -> None:
        self.accepting = True
        """Whether further commands may be sent on it."""
        self._ended = ended
        self._over = False
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse, replyError=self._understand, notEnoughData=_PARTIAL
        )
        self._unanswered: deque[tuple[float, Told]] = deque()  # by deadline, which is the order of sending
        self._overdue = 0  # commands that were sent, are no longer waited for, and still owe their reply
        self._unsent: deque[Packed] = deque()  # the commands of the last of `_unanswered`, in the same order
        self._unsent_bytes = 0
        self._flushing = False  # whether `_flush` is to run in this turn of the loop
        self._writable = False  # open, and the transport takes more
        self._writer: asyncio.StreamWriter | None = None
        self._transport: asyncio.WriteTransport
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """How many commands wait, to be sent or answered."""
        return len(self._unanswered)

    def send(self, command: Packed, within_s: float) -> Reply:
        """Send a command as `post` does, and return its reply to be; cancelled, nobody waits for it."""
        reply: Reply = self._loop.create_future()
        self.post(command, within_s, _Promise(reply))
        return reply

    def post(self, command: Packed, within_s: float, told: Told) -> None:
        """Send a command, together with all others of this turn of the loop.

        Args:
            command: One command.
            within_s: How long it may take in all, in seconds: the same for every command of a connection.
            told: Called once, and never before this returns.

        Raises:
            OverloadError: Too much waits already.
        """
        if len(self._unanswered) >= MOST_OUTSTANDING:
            raise OverloadError(f"{MOST_OUTSTANDING} commands wait for the server's answers already")
        if self._unsent_bytes >= MOST_UNSENT_BYTES:
            raise OverloadError(f"{MOST_UNSENT_BYTES >> 20} MiB wait for the server to read them already")
        deadline = self._loop.time() + within_s
        self._unanswered.append((deadline, told))
        self._unsent.append(command)
        self._unsent_bytes += size(command)
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._look_at_the_time)
        if self._writable and not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def begin(self, writer: asyncio.StreamWriter) -> None:
        """The connection is open: send what waited for it, less what is wanted no more."""
        self._writer, self._transport = writer, writer.transport
        wanted = [pair for pair in zip(self._unanswered, self._unsent, strict=True) if _is_wanted(pair[0][1])]
        self._unanswered = deque(waiting for waiting, _ in wanted)
        self._unsent = deque(command for _, command in wanted)
        self._writable = True
        self._flush()

    def end(self, error: Exception) -> None:
        """Close the connection; whoever still waits fails with `error`.

        All get the same exception: a future raises it with the traceback it was given, so none is mixed up
        with another's.
        """
        if self._over:
            return
        self._over = True
        self.accepting = self._writable = False
        if self._timer is not None:
            self._timer.cancel()
        if self._writer is not None:
            self._abort()
        del self._reader  # it knows this object by `_understand`, and is asked nothing any more
        unanswered, self._unanswered = self._unanswered, deque()
        self._unsent.clear()
        self._ended(self)
        for _, told in unanswered:
            self._tell(told, error)

    # What the event loop calls

    def data_received(self, data: bytes) -> None:
        """Give every whole reply to its command."""
        if self._over:
            return
        reader = self._reader
        reader.feed(data)
        try:
            while (reply := reader.gets()) is not _PARTIAL:
                self._answer(reply)
        except (InvalidResponse, ValueError) as error:  # ValueError: an error that lacks its parts
            self.end(InvalidResponse(str(error)))
        if not (self.accepting or self._unanswered):
            self.end(RedisConnectionError("retired"))

    def eof_received(self) -> None:
        """The server closes the connection: it answers nothing any more."""
        self.end(RedisConnectionError("closed by the server"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self.end(exc or RedisConnectionError("closed by the server"))

    def pause_writing(self) -> None:
        """Keep what is not written yet: the server does not read as fast as we write."""
        self._writable = False

    def resume_writing(self) -> None:
        """Write on."""
        if not self._over:
            self._writable = True
            self._flush()

    # Inside

    def _abort(self) -> None:
        """Close at once, and take back what has not reached the server.

        Not `close`, which would wait until a server that does not read has taken everything. And `abort`
        alone leaves to the kernel what was given to it: that goes on sending it for minutes, and a claim
        whose time was over would be taken after the release that was to drop it, which went another way.
        """
        with contextlib.suppress(OSError):  # closed already
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self._transport.abort()

    def _answer(self, reply: object) -> None:
        """The oldest command that was sent and has no reply yet has this one."""
        if self._overdue:
            self._overdue -= 1
            return
        if len(self._unanswered) <= len(self._unsent):
            raise InvalidResponse("the server answered what it was not asked")
        _, told = self._unanswered.popleft()
        try:  # as `_tell`, which would be another call for each reply
            told(reply)
        except Exception as error:  # noqa: BLE001 (as there)
            self._report(error)

    def _understand(self, said: str) -> Exception:
        """An error that the server answers with."""
        error = _parse_error(said)
        if isinstance(error, _DEMOTED):
            self.accepting = False
        return error

    def _tell(self, told: Told, reply: object) -> None:
        try:
            told(reply)
        except Exception as error:  # noqa: BLE001 (one caller's bug must not cost the others their replies)
            self._report(error)

    def _report(self, error: Exception) -> None:
        """As asyncio reports the errors of callbacks."""
        self._loop.call_exception_handler(
            {"message": "who asked the store raised", "exception": error, "protocol": self}
        )

    def _flush(self) -> None:
        """Write what there is, as long as the transport takes it: small ones as one, big ones as they are."""
        self._flushing = False
        small: list[bytes] = []
        while self._unsent and self._writable:
            for part in self._unsent.popleft():
                if len(part) < JOINED_BELOW:
                    small.append(part)
                else:  # before it stands at least the beginning of its own command
                    self._transport.write(b"".join(small))
                    self._transport.write(part)
                    small = []
        if small:
            self._transport.write(small[0] if len(small) == 1 else b"".join(small))
        self._unsent_bytes = sum(map(size, self._unsent))

    def _look_at_the_time(self) -> None:
        """Give up what is overdue, and come back when the next one would be."""
        self._timer = None
        now, late = self._loop.time(), list[Told]()
        while self._unanswered and self._unanswered[0][0] <= now:
            late.append(self._unanswered.popleft()[1])
            self.accepting = self._writer is None
            if len(self._unsent) > len(self._unanswered):
                self._unsent_bytes -= size(self._unsent.popleft())  # never sent, so no reply is owed
            else:
                self._overdue += 1
        if self._unanswered:
            self._timer = self._loop.call_at(self._unanswered[0][0], self._look_at_the_time)
        for told in late:
            self._tell(told, TimeoutError())
        if not (self.accepting or self._unanswered):
            self.end(RedisConnectionError("retired"))


class _Promise:
    """Tells a future."""

    __slots__ = ("future",)

    def __init__(self, future: Reply) -> None:
        self.future = future

    def __call__(self, reply: object) -> None:
        if self.future.done():  # its caller was cancelled
            return
        if isinstance(reply, Exception):
            self.future.set_exception(reply)
        else:
            self.future.set_result(reply)


def _is_wanted(told: Told) -> bool:
    return not (isinstance(told, _Promise) and told.future.done())
