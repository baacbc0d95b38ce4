"""Every limit of the native transport, in one place, each with its reason.

A peer is held to them connection by connection, so that what one does never costs another; only the number
of connections is the endpoint's. The counts in `Allowance`s are far above what Envoy, grpc and nghttp2 do at
full load, and low enough that going along with them costs a peer more than it costs the server.
"""

from dataclasses import dataclass

from sidecar.extproc.transport.native.faults import ErrorCode, H2ConnectionError
from sidecar.extproc.transport.native.frames import DEFAULT_WINDOW, LEAST_MAX_FRAME_SIZE
from sidecar.extproc.transport.native.grpc_messages import PREFIX


@dataclass(frozen=True, slots=True)
class Allowance:
    """How often something may happen: `burst` times at once, and `per_second` more every second."""

    burst: int
    per_second: float


@dataclass(frozen=True, slots=True)
class Limits:
    """What one peer may do on one connection. Sizes in bytes, times in seconds."""

    connections: int = 512
    """Connections of one endpoint at once; one more is closed before it has said anything. Envoy opens one
    for each of its threads, and another for each thousand exchanges under way. Each holds a descriptor, of
    which a process has 1024 by default: some have to be left for the store and the admin endpoint."""

    concurrent_streams: int = 4096
    """Streams at once (SETTINGS_MAX_CONCURRENT_STREAMS). Every keyed request under way holds one. It is above
    Envoy's own limit, 1024 by default, at which it opens another connection: on a new one Envoy sends all
    that waits before it has seen this number, and what is beyond it fails."""

    frame_size: int = LEAST_MAX_FRAME_SIZE
    """The longest frame's payload (SETTINGS_MAX_FRAME_SIZE). More of it would let one stream hold up the
    others for longer, and only saves nine bytes in 16 kB."""

    header_list_size: int = 16 * 1024
    """A request's fields decoded, as RFC 9113 §6.5.2 counts them (SETTINGS_MAX_HEADER_LIST_SIZE). Envoy sends
    a few hundred bytes; with a tracing system's baggage, the longest that is usual, 8 kB more."""

    header_block_size: int = 16 * 1024
    """A request's fields as sent, over all CONTINUATION frames. What is not huge when decoded is not here."""

    continuations: int = 8
    """CONTINUATION frames of one field block. Two of them hold the whole block; endless ones are
    CVE-2024-27316."""

    cached_blocks: int = 256
    """Field blocks whose meaning is kept (`hpack_cache`). They differ by route and metadata, not by call."""

    cached_block_size: int = 2048
    """The longest field block that is kept."""

    message_size: int = 16 * 1024 * 1024
    """One gRPC message, as the grpcio transport has it: Envoy's pieces of a body are as large as its
    connection's buffer, 1 MiB by default."""

    stream_window: int = 64 * 1024 - 1
    """What a stream may send before it is taken: messages that are not longer need no permission. The
    default of RFC 9113 §6.9.2, which holds anyway until the peer has seen the settings."""

    large_messages: int = 64 * 1024 * 1024
    """Bytes in messages longer than `stream_window` that may be under way on the connection at once; more of
    them wait for their turn. What a connection has sent takes no more memory than this and a window for each
    of `concurrent_streams`."""

    connection_window: int = 16 * 1024 * 1024
    """What all streams together may send before it is taken. It is taken at once: the windows of streams
    bound the memory, and this one is large so that it is seldom renewed, which costs both ends a frame."""

    queued_answers: int = 256 * 1024
    """Bytes of answers of one stream that its peer has not made room for. Above them its messages are held
    back; one message's answers may go over it, as nothing can be done about them."""

    unsent: int = 512 * 1024 * 1024
    """Bytes of answers of a whole connection that the peer does not take. It is only reached by a peer that
    asks for many large replays and reads none; it loses the connection."""

    early_resets: Allowance = Allowance(10_000, 1000)
    """Streams that the peer resets before it can have seen an answer, or makes the server reset. Each may
    have cost a call to the store (rapid reset, CVE-2023-44487; "made you reset", CVE-2025-8671). With Envoy
    it is clients that give up early, and Envoy must not lose the connection that its exchanges share for
    that: the burst is twice all the streams that there can be, whose clients may all go at once."""

    pings: Allowance = Allowance(1000, 50)
    """PING frames. grpc's clients measure bandwidth with them; Envoy may be told to keep alive by them."""

    settings: Allowance = Allowance(100, 5)
    """SETTINGS frames, acknowledgements included. A changed window touches every stream."""

    empty_frames: Allowance = Allowance(100, 10)
    """DATA frames that neither bring anything nor end the stream, and empty field blocks: CVE-2019-9518."""

    ignored_frames: Allowance = Allowance(10_000, 1000)
    """PRIORITY, GOAWAY, frames of unknown types, and frames for streams that have ended: the end of a stream
    crosses with what is on its way to it."""

    remembered_resets: int = 1024
    """Streams that the server ended before the peer did; what still comes on them is no fault (RFC 9113
    §5.4.2)."""

    window_updates: int = 1000
    """WINDOW_UPDATE frames beyond `window_updates_per_frame` for each DATA frame that was sent."""

    window_updates_per_frame: int = 10
    """WINDOW_UPDATE frames that one DATA frame of the server's accounts for. Nobody needs more than two."""

    handshake_s: float = 10.0
    """For the client's preface and its SETTINGS. A connection that has shown both may idle for ever."""

    stalled_s: float = 60.0
    """A peer that takes nothing of what it asked for so long has gone, or holds memory on purpose."""

    no_room_s: float = 600.0
    """A call whose peer makes no window for the answers that wait for one is reset after so long, and before
    twice as long: it holds memory (CVE-2019-9517). Envoy itself ends a request on which nothing moves after 5
    minutes (`stream_idle_timeout`)."""

    linger_s: float = 1.0
    """For the last frames to be read before the connection is cut off."""

    drain_ping_s: float = 1.0
    """For the answer to the PING between the two GOAWAYs of a drain (RFC 9113 §6.8): one round trip."""

    def __post_init__(self) -> None:
        """A client may use the default windows until it has seen others; a message must have room at all."""
        if self.stream_window < DEFAULT_WINDOW or self.connection_window < DEFAULT_WINDOW:
            raise ValueError(f"a window is too small; allowed: at least {DEFAULT_WINDOW}")
        if self.large_messages < self.message_size + PREFIX:
            raise ValueError(f"too little room for messages; allowed: at least {self.message_size + PREFIX}")


class Budget:
    """Counts what an `Allowance` allows: a token bucket without a clock of its own.

    Args:
        allowance: How often it may happen.
        name: What happens, for the message.
        now: The time, in seconds.
    """

    __slots__ = ("_allowance", "_left", "_name", "_since")

    def __init__(self, allowance: Allowance, name: str, now: float) -> None:
        self._allowance = allowance
        self._name = name
        self._left = float(allowance.burst)
        self._since = now

    def spend(self, now: float) -> None:
        """It happened.

        Raises:
            H2ConnectionError: Once too often: ENHANCE_YOUR_CALM (RFC 9113 §10.5).
        """
        earned = (now - self._since) * self._allowance.per_second
        self._left = min(float(self._allowance.burst), self._left + earned) - 1
        self._since = now
        if self._left < 0:
            raise H2ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, f"too many {self._name}")
