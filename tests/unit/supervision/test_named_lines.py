"""The one stream that several processes print to."""

import asyncio
import io

import pytest

from sidecar.supervision.logs import LONGEST_LINE, NamedLines, forward, wants_colour


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def lines_of(*chunks: bytes) -> list[str]:
    reader = asyncio.StreamReader()
    for chunk in chunks:
        reader.feed_data(chunk)
    reader.feed_eof()
    taken: list[str] = []
    await forward(reader, taken.append)
    return taken


async def test_lines_come_whole_however_they_were_written() -> None:
    assert await lines_of(b"on", b"e\ntwo\r\n", b"three") == ["one", "two", "three"]


async def test_blank_lines_are_dropped() -> None:
    assert await lines_of(b"\n\none\n   \n") == ["one"]


async def test_bytes_that_are_no_text_do_not_stop_the_stream() -> None:
    assert await lines_of(b"a\xff\nb\n") == ["a\ufffd", "b"]


async def test_a_line_without_end_is_passed_on_in_pieces() -> None:
    pieces = await lines_of(b"x" * (3 * LONGEST_LINE + 5))
    assert len(pieces) > 3
    assert "".join(pieces) == "x" * (3 * LONGEST_LINE + 5)


def test_the_name_stands_in_front_in_a_column() -> None:
    stream = io.StringIO()
    log = NamedLines(stream, colour=False)
    log("envoy", "hello")
    log("sidecar.1", "world")
    assert stream.getvalue() == "envoy    | hello\nsidecar.1| world\n"


def test_each_name_keeps_a_colour_of_its_own() -> None:
    stream = io.StringIO()
    log = NamedLines(stream, colour=True)
    for name in ("envoy", "valkey", "envoy"):
        log(name, "x")
    first, second, third = stream.getvalue().splitlines()
    assert first == third
    assert first.split("envoy")[0] != second.split("valkey")[0]
    assert first.endswith("\x1b[0m x")


def test_a_reader_that_went_away_is_no_error() -> None:
    stream = io.StringIO()
    log = NamedLines(stream, colour=False)
    stream.close()
    log("envoy", "nobody reads this")
    log("envoy", "nor this")


@pytest.mark.parametrize(
    ("stream", "environ", "wanted"),
    [
        (Terminal(), {"TERM": "xterm"}, True),
        (io.StringIO(), {"TERM": "xterm"}, False),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
    ],
)
def test_colour_is_for_terminals_that_want_it(
    stream: io.StringIO, environ: dict[str, str], wanted: bool
) -> None:
    assert wants_colour(stream, environ) is wanted
