"""The sockets that a transport listens on: a unix socket with its mode, or TCP."""

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

UNIX: Final = "unix:"
BACKLOG: Final = 1024
_NOT_HERE: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
_BREATH_S: Final = 1.0
"""How long no connection is taken where none could be."""


def bind_unix(path: Path, mode: int | None) -> socket.socket:
    """A unix socket that listens at `path`, with these permissions (None: as the process's umask makes them).

    A socket that nobody listens on any more, such as a worker that was killed leaves behind, is replaced.

    The permissions are right from the first moment: `bind` creates the file with what the umask leaves, so
    the umask is set to leave just these. It belongs to the whole process, and is put back before anything
    else runs on this thread.

    Raises:
        OSError: The path is taken by something alive or by something else than a socket, or not allowed.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _alone_in(path.parent):
            _clear(path)
            if mode is None:
                listener.bind(str(path))
            else:
                with _umask(0o777 & ~mode):
                    listener.bind(str(path))
            listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


async def bind_tcp(host: str, port: int) -> list[socket.socket]:
    """A socket that listens for each address of a host's name that this machine has.

    `localhost` may stand for one of IPv6 where there is no IPv6.

    Raises:
        OSError: The name is not known, it has no address here, or one is taken or not allowed.
    """
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners, absent = list[socket.socket](), list[OSError]()
    with contextlib.ExitStack() as unless_all_is_well:
        for family, _, _, _, address in dict.fromkeys(addresses):
            try:
                listener = socket.create_server(address, family=family, backlog=BACKLOG)
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                absent.append(error)
            else:
                listener.setblocking(False)
                listeners.append(unless_all_is_well.enter_context(listener))
        unless_all_is_well.pop_all()
    if not listeners:
        raise absent[0]
    return listeners


async def accept(listener: socket.socket) -> socket.socket:
    """The next connection, however long it takes.

    Where none can be taken, above all because the process has no descriptor left, that is reported, and tried
    again a second later.
    """
    loop = asyncio.get_running_loop()
    while True:
        try:
            peer, _ = await loop.sock_accept(listener)
            if peer.family != socket.AF_UNIX:  # the loops do so for connections that they took themselves
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except ConnectionError:
            continue  # it gave up before it was taken
        except OSError as error:
            loop.call_exception_handler({"message": "no connection can be taken", "exception": error})
            await asyncio.sleep(_BREATH_S)
        else:
            return peer


def remove_unix(path: Path, listener_inode: tuple[int, int]) -> None:
    """Remove the file of a socket that is closed, unless another worker has put its own there meanwhile."""
    with contextlib.suppress(OSError), _alone_in(path.parent):
        if inode(path) == listener_inode:
            path.unlink()


def inode(path: Path) -> tuple[int, int]:
    """What tells this file from another at the same path."""
    status = path.lstat()
    return status.st_dev, status.st_ino


def split_address(address: str) -> tuple[str, int]:
    """`host:port` or `[::1]:port` in its parts.

    Raises:
        OSError: It is neither.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not host:
        raise OSError(f"cannot listen on {address}: not host:port, [ipv6]:port or unix:/path")
    return host.removeprefix("[").removesuffix("]"), int(port)


@contextlib.contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Hold a lock on the directory, which leaves nothing behind.

    Between the look whether a socket is alive and the bind that replaces it, another worker that starts at
    the same time might do the same, and remove the new socket as a dead one.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _clear(path: Path) -> None:
    """Remove a dead socket; whatever else is there stays, and `bind` says that the path is taken."""
    if path.is_socket() and not _is_alive(path):
        path.unlink()


def _is_alive(path: Path) -> bool:
    """Whether somebody listens: only a refusal says that nobody does, a full queue does not."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(str(path)) != errno.ECONNREFUSED


@contextlib.contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
