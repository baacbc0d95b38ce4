import hiredis
import pytest

from sidecar.idempotency.claim import UnknownPolicy
from sidecar.store.redis.packing import JOINED_BELOW, Argument, pack, pack_transition, size


def read(command: tuple[bytes, ...]) -> object:
    """The command as a server reads it."""
    reader = hiredis.Reader()
    for part in command:
        reader.feed(part)
    return reader.gets()


def len_of(data: bytes | None) -> str:
    return "none" if data is None else f"{len(data)} bytes"


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (("PING",), [b"PING"]),
        (
            ("SET", "ключ", b"\x00\r\n", 10**15, ""),
            [b"SET", "ключ".encode(), b"\x00\r\n", b"1" + b"0" * 15, b""],
        ),
        (("EVALSHA", UnknownPolicy.HOLD, -1), [b"EVALSHA", b"hold", b"-1"]),
    ],
)
def test_a_server_reads_the_arguments_as_they_were_given(
    command: tuple[Argument, ...], arguments: list[bytes]
) -> None:
    assert read(pack(command)) == arguments


@pytest.mark.parametrize("length", [0, 1, JOINED_BELOW - 1, JOINED_BELOW, JOINED_BELOW + 1])
def test_a_last_argument_of_any_length_is_read_whole(length: int) -> None:
    great = bytes(length)
    command = pack(("SET", "a", great))
    assert read(command) == [b"SET", b"a", great]
    assert size(command) == sum(map(len, command))


def test_a_big_last_argument_is_not_copied() -> None:
    great = bytes(JOINED_BELOW)
    assert any(part is great for part in pack(("SET", "a", great)))


def test_a_small_command_is_one_piece() -> None:
    assert pack(("GET", "a")) == (b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n",)


@pytest.mark.parametrize(
    "data", [None, b"", b"\x00\r\n", bytes(JOINED_BELOW - 1), bytes(JOINED_BELOW)], ids=len_of
)
@pytest.mark.parametrize("settings", [(), (1,), (30_000, 86_400_000, 0, UnknownPolicy.HOLD)])
@pytest.mark.parametrize("key", ["idem:ab", "ключ:ab"])
def test_a_transition_is_the_command_that_it_would_be_otherwise(
    key: str, settings: tuple[Argument, ...], data: bytes | None
) -> None:
    arguments = (*settings, *(() if data is None else (data,)))
    packed = pack_transition("5ca1e", key, "owner-1f", settings, data)
    assert b"".join(packed) == b"".join(pack(("EVALSHA", "5ca1e", 1, key, "owner-1f", *arguments)))


def test_a_transitions_big_data_is_not_copied() -> None:
    great = bytes(JOINED_BELOW)
    assert any(part is great for part in pack_transition("5ca1e", "a", "owner", (), great))
