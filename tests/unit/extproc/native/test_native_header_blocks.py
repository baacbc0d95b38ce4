"""Field blocks: decoded with the connection's state until there is none, remembered from then on."""

import pytest
from hpack import Encoder

from sidecar.extproc.transport.native.faults import ErrorCode, H2ConnectionError, H2StreamError
from sidecar.extproc.transport.native.hpack_cache import HeaderBlocks
from sidecar.extproc.transport.native.limits import Limits
from tests.unit.extproc.native.h2_scene import call_fields


def off(encoder: Encoder) -> Encoder:
    """The encoder of a client that has seen the setting."""
    encoder.header_table_size = 0
    return encoder


def stateless(limits: Limits | None = None) -> tuple[HeaderBlocks, Encoder]:
    """Blocks whose client has turned its table off, and its encoder."""
    blocks, encoder = HeaderBlocks(limits or Limits()), off(Encoder())
    blocks.settings_acknowledged()
    blocks.request(encoder.encode(call_fields()))
    return blocks, encoder


def test_before_the_acknowledgement_blocks_use_the_table_and_none_is_remembered() -> None:
    blocks, encoder = HeaderBlocks(Limits()), Encoder()

    first = encoder.encode(call_fields(path="/a"))
    second = encoder.encode(call_fields(path="/a"))
    assert len(second) < len(first)

    assert [blocks.request(block).path for block in (first, second)] == [b"/a", b"/a"]
    assert (blocks.stateless, blocks.cached) == (False, 0)


def test_the_same_bytes_may_mean_something_else_while_there_is_a_table() -> None:
    blocks, post_http = HeaderBlocks(Limits()), b"\x83\x86"
    newest = post_http + b"\xbe"
    blocks.request(post_http + b"\x44\x02/a")  # a path that is added to the table
    assert blocks.request(newest).path == b"/a"
    blocks.request(post_http + b"\x44\x02/b")

    assert blocks.request(newest).path == b"/b"


def test_the_update_to_no_table_after_the_acknowledgement_makes_blocks_stateless() -> None:
    blocks, encoder = HeaderBlocks(Limits()), Encoder()
    blocks.request(encoder.encode(call_fields()))
    blocks.settings_acknowledged()
    before = blocks.stateless

    blocks.request(off(encoder).encode(call_fields()))

    assert (before, blocks.stateless) == (False, True)
    assert blocks.cached == 0  # its own bytes hold the update, and come once
    block = encoder.encode(call_fields(path="/a"))
    head = blocks.request(block)
    assert blocks.cached == 1
    assert blocks.request(bytes(bytearray(block))) is head


def test_an_update_to_no_table_before_the_acknowledgement_is_not_a_promise() -> None:
    blocks, encoder = HeaderBlocks(Limits()), Encoder()
    off(encoder)
    blocks.request(encoder.encode(call_fields(path="/a")))
    assert not blocks.stateless

    encoder.header_table_size = 4096
    blocks.request(encoder.encode(call_fields(path="/b")))
    assert blocks.request(encoder.encode(call_fields(path="/b"))).path == b"/b"


def test_a_block_after_the_acknowledgement_without_the_update_is_a_compression_error() -> None:
    blocks = HeaderBlocks(Limits())
    blocks.settings_acknowledged()

    with pytest.raises(H2ConnectionError) as raised:
        blocks.request(Encoder().encode(call_fields()))

    assert raised.value.code == ErrorCode.COMPRESSION_ERROR


def test_a_client_that_only_knows_incremental_indexing_adds_nothing_and_is_remembered() -> None:
    blocks, encoder = stateless()

    block = encoder.encode(call_fields(path="/a"))
    assert any(octet & 0xC0 == 0x40 for octet in block)

    assert blocks.request(block) is blocks.request(block)


def test_a_reference_to_the_table_is_an_error_and_not_remembered() -> None:
    blocks, _ = stateless()

    for _ in range(2):
        with pytest.raises(H2ConnectionError) as raised:
            blocks.request(b"\xbe")
        assert raised.value.code == ErrorCode.COMPRESSION_ERROR
    assert blocks.cached == 0


def test_a_malformed_head_is_not_remembered() -> None:
    blocks, encoder = stateless()
    block = encoder.encode(call_fields(te="gzip"))

    for _ in range(2):
        with pytest.raises(H2StreamError):
            blocks.request(block)
    assert blocks.cached == 0


def test_no_more_blocks_are_remembered_than_allowed_the_oldest_goes() -> None:
    blocks, encoder = stateless(Limits(cached_blocks=3))
    paths = [encoder.encode(call_fields(path=f"/{number}")) for number in range(5)]
    heads = [blocks.request(block) for block in paths]

    assert blocks.cached == 3
    assert blocks.request(paths[4]) is heads[4]
    assert blocks.request(paths[0]) is not heads[0]
    assert blocks.request(paths[0]) == heads[0]


def test_a_long_block_is_not_remembered() -> None:
    blocks, encoder = stateless(Limits(cached_block_size=200))

    blocks.request(encoder.encode(call_fields(x_long="~" * 200)))

    assert blocks.cached == 0


def test_a_block_that_grows_beyond_the_limit_is_refused_while_it_is_decoded() -> None:
    blocks, encoder = HeaderBlocks(Limits()), Encoder()
    blocks.request(encoder.encode([*call_fields(), ("x", "y" * 3000)]))

    with pytest.raises(H2ConnectionError) as raised:
        blocks.skip(b"\xbe" * 100)

    assert raised.value.code == ErrorCode.ENHANCE_YOUR_CALM


def test_what_is_skipped_changes_the_table_all_the_same() -> None:
    blocks, encoder = HeaderBlocks(Limits()), Encoder()
    blocks.skip(encoder.encode(call_fields(path="/a")))

    assert blocks.request(encoder.encode(call_fields(path="/a"))).path == b"/a"


def test_trailers_are_checked_and_mean_nothing() -> None:
    blocks, encoder = stateless()

    blocks.trailers(encoder.encode([("x", "y")]))
    with pytest.raises(H2StreamError):
        blocks.trailers(encoder.encode([(":path", "/")]))
