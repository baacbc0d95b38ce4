"""Field blocks of requests (RFC 7541), and what they mean, read once where that is safe.

Decoding and checking a block of Envoy's takes some 50 µs in Python, more than all the rest of an exchange
together, and a peer sends the same few blocks again and again. Whether the same bytes mean the same fields is
what has to be argued.

A block's meaning depends on one thing besides its bytes: the dynamic table as the blocks before it left it
(RFC 7541 §2.2). The server announces SETTINGS_HEADER_TABLE_SIZE 0. That alone changes nothing: the client may
have sent blocks before it saw the setting, and they use a table of up to 4096 bytes. What does change it, in
this order:

1. The client acknowledges the settings. From here a table of any size is beyond what is allowed, and the
   client's next block must begin with a dynamic table size update to 0 (RFC 7541 §4.2: the change "MUST occur
   at the beginning of the first header block following the change"; RFC 9113 §4.3.1: a block that follows the
   acknowledgement without it MUST be treated as COMPRESSION_ERROR). The acknowledgement and the blocks travel
   on one ordered connection, so there is no block about which one could be in doubt.
2. The decoder meets that update. It evicts all entries (RFC 7541 §4.3), and the table's size is 0.

From then on the table is empty for ever. It stays of size 0, because an update may not exceed what the server
allows (RFC 7541 §6.3), which is 0 and never raised. It stays empty, because every entry counts at least 32
bytes (§4.1), and adding one that is larger than the table leaves it empty, which is no error (§4.4): a
client whose encoder knows nothing but incremental indexing may go on using it. And a reference to an entry
that is not there is an error (§2.3.3), not a meaning. So the bytes of a block alone give its fields, on this
connection and any other in this state, and remembering them by the bytes is exact. Until then every block
goes through the decoder, in order, and none is remembered.

The decoder checks the table's size at the end of each block, so a client that skips step 2 is caught at its
first block after step 1. Blocks that are errors are not remembered.
"""

from collections.abc import Iterable

from hpack import Decoder, HPACKError, OversizedHeaderListError

from sidecar.extproc.transport.native.faults import ErrorCode, H2ConnectionError
from sidecar.extproc.transport.native.limits import Limits
from sidecar.extproc.transport.native.request_head import RequestHead, check_trailers, read_head


class HeaderBlocks:
    """Reads the field blocks of one connection, every one of them and in order."""

    __slots__ = ("_decoder", "_known", "_limits", "_stateless")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._decoder = Decoder(max_header_list_size=limits.header_list_size)
        self._known: dict[bytes, RequestHead] = {}
        self._stateless = False

    @property
    def stateless(self) -> bool:
        """Whether the same bytes mean the same from now on."""
        return self._stateless

    @property
    def cached(self) -> int:
        """How many blocks are remembered."""
        return len(self._known)

    def settings_acknowledged(self) -> None:
        """The client has promised to keep no dynamic table."""
        self._decoder.max_allowed_table_size = 0

    def request(self, block: bytes) -> RequestHead:
        """The head of a request.

        Raises:
            H2ConnectionError: The block cannot be decoded: COMPRESSION_ERROR (RFC 9113 §4.3); or is a longer
                list than announced: ENHANCE_YOUR_CALM (§10.5.1). Either way the decoder's state is lost.
            H2StreamError: The request is malformed (see `read_head`).
        """
        known = self._known.get(block)
        if known is not None:
            return known
        was_stateless = self._stateless
        head = read_head(self._decode(block))
        if was_stateless and len(block) <= self._limits.cached_block_size:
            self._remember(block, head)
        return head

    def trailers(self, block: bytes) -> None:
        """Fields after a request's content.

        Raises:
            H2ConnectionError: As `request`.
            H2StreamError: They are malformed (see `check_trailers`).
        """
        check_trailers(self._decode(block))

    def skip(self, block: bytes) -> None:
        """Fields of a stream that is of no interest any more: the decoder has to see them.

        Raises:
            H2ConnectionError: As `request`.
        """
        self._decode(block)

    def _decode(self, block: bytes) -> Iterable[tuple[bytes, bytes]]:
        try:
            fields: Iterable[tuple[bytes, bytes]] = self._decoder.decode(block, raw=True)
        except OversizedHeaderListError as error:
            raise H2ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, str(error)) from error
        except HPACKError as error:
            raise H2ConnectionError(ErrorCode.COMPRESSION_ERROR, str(error)) from error
        if not self._stateless and self._decoder.max_allowed_table_size == 0:
            self._stateless = True  # the decoder has just checked that the table's size is 0
        return fields

    def _remember(self, block: bytes, head: RequestHead) -> None:
        if len(self._known) >= self._limits.cached_blocks:
            del self._known[next(iter(self._known))]  # the oldest: that costs the least, and any will do
        self._known[block] = head
