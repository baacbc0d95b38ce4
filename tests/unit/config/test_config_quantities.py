import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.errors import RefusedError
from sidecar.config.quantities import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("250ms", 250), ("30s", 30_000), ("15m", 900_000), ("24h", 86_400_000), ("7d", 604_800_000), ("0s", 0)],
)
def test_a_duration_is_read_in_milliseconds(text: str, milliseconds: int) -> None:
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("512", 512), ("64KiB", 65_536), ("1MiB", 1_048_576), ("1GiB", 1_073_741_824)],
)
def test_a_size_is_read_in_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "30", "s", "-1s", "+1s", "1.5h", "1h30m", "30 s", "30S", "30sec", "٣s", "1" * 13 + "s"]
)
def test_anything_else_is_not_a_duration(text: str) -> None:
    with pytest.raises(RefusedError, match="is not a duration") as caught:
        parse_duration(text)
    assert caught.value.allowed == "a number with ms, s, m, h or d, such as 30s"


@pytest.mark.parametrize(
    "text", ["", "-1", "1.5MiB", "1MB", "1M", "1mib", "64 KiB", "1B", "1TiB", "٣", "1" * 13]
)
def test_anything_else_is_not_a_size(text: str) -> None:
    with pytest.raises(RefusedError, match="is not a size") as caught:
        parse_size(text)
    assert "such as 64KiB" in caught.value.allowed


@given(st.integers(0, 10**11))
def test_what_is_written_back_reads_as_the_same(number: int) -> None:
    assert parse_duration(format_duration(number)) == number
    assert parse_size(format_size(number)) == number


@pytest.mark.parametrize(
    ("milliseconds", "text"), [(0, "0s"), (1_500, "1500ms"), (90_000, "90s"), (86_400_000, "1d")]
)
def test_a_duration_is_written_in_its_largest_whole_unit(milliseconds: int, text: str) -> None:
    assert format_duration(milliseconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0"), (1_000, "1000"), (10_485_760, "10MiB"), (1 << 30, "1GiB")]
)
def test_a_size_is_written_in_its_largest_whole_unit(size: int, text: str) -> None:
    assert format_size(size) == text
