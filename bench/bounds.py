"""What must hold, and whether it does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from bench.spread import Spread

NEW_VS_NOOP = "new_vs_noop"
REPLAY_VS_NOOP = "replay_vs_noop"
REPLAY_BODYLESS_VS_NOOP = "replay_bodyless_vs_noop"
GRPCIO_NEW_VS_NOOP = "grpcio_new_vs_noop"
KEYLESS_VS_PLAIN = "keyless_vs_plain"
ROUNDTRIPS_NEW = "roundtrips_new"
ROUNDTRIPS_REPLAY = "roundtrips_replay"
RECORD_OVERHEAD = "record_overhead_bytes"
UPLOAD_RSS = "upload_rss_mib"
SOAK_SLOPE = "soak_slope_mib_per_h"
ADDED_VS_IDEMKIT = "added_vs_idemkit"
NEW_VS_CPP_NOOP = "new_vs_cpp_noop"

NOISE = 1.25
"""By how much the short form's bounds are wider: it has few rounds, and others use the machine."""


class Side(StrEnum):
    """Which way a figure may go."""

    AT_MOST = "≤"
    LESS = "<"
    AT_LEAST = "≥"


@dataclass(frozen=True, slots=True)
class Bound:
    """A figure and what it may be.

    Attributes:
        figure: Its name.
        meaning: What it is, for a reader.
        side: Which way the limit goes.
        limit: The limit.
        aim: What is aimed for beyond it; None: nothing.
        binding: Whether a miss fails the run, or is only told.
        counted: Whether it is counted, not timed: then noise does not widen it.
        peer: Whether it compares with a peer that may be missing on a machine: then the short form does
            without it.
    """

    figure: str
    meaning: str
    side: Side
    limit: float
    aim: float | None = None
    binding: bool = True
    counted: bool = False
    peer: bool = False

    def limit_with(self, noise: float) -> float:
        """The limit, wider by a factor."""
        if self.counted:
            return self.limit
        return self.limit / noise if self.side is Side.AT_LEAST else self.limit * noise

    def holds(self, value: float, noise: float = 1.0) -> bool:
        """Whether a value is within the limit."""
        limit = self.limit_with(noise)
        match self.side:
            case Side.AT_MOST:
                return value <= limit
            case Side.LESS:
                return value < limit
            case Side.AT_LEAST:
                return value >= limit


BOUNDS = (
    Bound(NEW_VS_NOOP, "sidecar CPU per new key ÷ no-op processor's", Side.AT_MOST, 0.35, 0.20),
    Bound(REPLAY_VS_NOOP, "sidecar CPU per replay with body check ÷ no-op's", Side.AT_MOST, 0.30),
    Bound(REPLAY_BODYLESS_VS_NOOP, "sidecar CPU per replay without body ÷ no-op's", Side.AT_MOST, 0.20),
    Bound(GRPCIO_NEW_VS_NOOP, "new keys on the `grpcio` transport ÷ no-op's", Side.AT_MOST, 1.35),
    Bound(KEYLESS_VS_PLAIN, "requests/s without a key ÷ Envoy alone", Side.AT_LEAST, 0.97),
    Bound(ROUNDTRIPS_NEW, "store round trips per new key", Side.AT_MOST, 2, counted=True),
    Bound(ROUNDTRIPS_REPLAY, "store round trips per replay", Side.AT_MOST, 1, counted=True),
    Bound(RECORD_OVERHEAD, "bytes per record beyond the response's own", Side.AT_MOST, 400, counted=True),
    Bound(UPLOAD_RSS, "MiB that a 50 MB upload adds to the sidecar", Side.AT_MOST, 16),
    Bound(SOAK_SLOPE, "MiB per hour that the sidecar grows under load", Side.LESS, 1),
    Bound(ADDED_VS_IDEMKIT, "CPU added per new key ÷ what idemkit adds", Side.AT_MOST, 1.0, 0.7, peer=True),
    Bound(
        NEW_VS_CPP_NOOP, "sidecar CPU per new key ÷ C++ no-op's", Side.AT_MOST, 1.5, binding=False, peer=True
    ),
)

_OF_PEERS = {bound.figure for bound in BOUNDS if bound.peer}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bound as it came out. `passed` is None where there is no figure, and `reason` says why."""

    figure: str
    value: float | None
    bound: float
    """The limit that was applied."""
    side: Side
    passed: Annotated[bool | None, Field(alias="pass")]
    binding: bool
    least: float | None = None
    most: float | None = None
    reason: str = ""

    @property
    def limit(self) -> str:
        """The bound in words: side and limit."""
        return f"{self.side} {self.bound:g}"


def judge(
    figures: Mapping[str, Spread],
    reasons: Mapping[str, str],
    *,
    noise: float = 1.0,
    without: Sequence[str] = (),
) -> tuple[Verdict, ...]:
    """Every bound's verdict, in order.

    Args:
        figures: What was measured.
        reasons: Why a figure is missing.
        noise: The factor by which limits are wider.
        without: Figures that this form of the run does not judge.
    """
    return tuple(
        _verdict(bound, figures.get(bound.figure), reasons, noise)
        for bound in BOUNDS
        if bound.figure not in without
    )


def _verdict(bound: Bound, spread: Spread | None, reasons: Mapping[str, str], noise: float) -> Verdict:
    limit = bound.limit_with(noise)
    if spread is None:
        reason = reasons.get(bound.figure, "it was not measured")
        return Verdict(bound.figure, None, limit, bound.side, None, bound.binding, reason=reason)
    passed, value = bound.holds(spread.median, noise), spread.median
    return Verdict(bound.figure, value, limit, bound.side, passed, bound.binding, spread.least, spread.most)


def misses(verdicts: Sequence[Verdict], *, without_peers: bool) -> list[Verdict]:
    """The binding bounds that do not hold or have no figure.

    With `without_peers`, those that compare with a peer may have none. Whether the peer was missing or failed
    is not told apart here: what failed fails the run by itself (`Skip`).
    """
    return [
        verdict
        for verdict in verdicts
        if verdict.binding
        and not verdict.passed
        and not (without_peers and verdict.passed is None and verdict.figure in _OF_PEERS)
    ]


def line(verdict: Verdict) -> str:
    """A verdict as the run prints it."""
    if verdict.value is None:
        return f"{'----':4} {verdict.figure:26} {verdict.limit:8} not measured: {verdict.reason}"
    outcome = "pass" if verdict.passed else "MISS" if verdict.binding else "over"
    spread = "" if verdict.least == verdict.most else f" ({verdict.least:.4g} to {verdict.most:.4g})"
    return f"{outcome:4} {verdict.figure:26} {verdict.limit:8} {verdict.value:.4g}{spread}"
