"""What is told of the store's work, for metrics and logs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from sidecar.store.port import StoreError

ObserveStore: TypeAlias = Callable[[str, str, float, StoreError | None], None]
"""Told of each operation: its name, its result (the metric's label), seconds, the error if it failed."""


@dataclass(frozen=True, slots=True)
class RepeatEnd:
    """A write that was lost and repeated has come to its end.

    Attributes:
        operation: `complete`, `release` or `mark_unknown`.
        claim_id: The id it is about.
        result: `held` or `lost` where the store answered; `error` where the write was given up.
        tries: How often it was repeated.
        seconds: How long after it was lost.
        error: Why it was given up; None where the store answered.
    """

    operation: str
    claim_id: str
    result: str
    tries: int
    seconds: float
    error: StoreError | None


ObserveRepeat: TypeAlias = Callable[[RepeatEnd], None]
