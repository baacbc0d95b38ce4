"""Envoy's end of one ext_proc stream: messages in order, answers in order, and a limit to its patience."""

from collections.abc import Callable
from random import Random
from typing import Any

from sidecar.exchange.effects import Answer, ExtendTimeout
from sidecar.exchange.events import EnvoyEvent
from tests.simulation.answers import LETS_RESPONSE, OF_RESPONSE
from tests.simulation.hosted import Hosted
from tests.simulation.timeline import Timeline

TIMEOUT_MS = 1_000
"""Envoy's `message_timeout`."""
HOP_MS = 3
"""The most that a message takes from one end to the other."""


class Conversation:
    """What was told and what was answered, in either direction of the exchange.

    Args:
        timeline: When it all happens.
        luck: A seed, for how long each message takes.
        give_up: Called when an answer does not come in time.
    """

    def __init__(self, timeline: Timeline, luck: int, give_up: Callable[[], None]) -> None:
        self._timeline = timeline
        self._luck = Random(~luck)
        self._give_up = give_up
        self._told_at = self._heard_at = 0
        self._told, self._answered = [0, 0], [0, 0]
        self._patience = TIMEOUT_MS

    def tell(self, hosted: Hosted, event: EnvoyEvent, completes: bool, *, silent: bool) -> None:
        """Send a message; `silent`: of a request, it waits for no answer (full duplex)."""
        self._told_at = max(self._told_at, self._timeline.now + self._hop())
        self._timeline.at(self._told_at, hosted.hand, hosted.on_message, event, completes)
        in_response = isinstance(event, OF_RESPONSE)
        if in_response or not silent:
            self._told[in_response] += 1
            number = self._told[in_response]
            self._timeline.after(self._patience, self._check_answered, in_response, number, self._patience)

    def end(self, hosted: Hosted) -> None:
        """End the stream, behind everything that was told."""
        when = max(self._told_at, self._timeline.now + self._hop())
        self._timeline.at(when, hosted.hand, hosted.on_end)

    def hear(self, act: Callable[..., None], *arguments: Any) -> None:
        """Let what the other end has done arrive here, in order."""
        self._heard_at = max(self._heard_at, self._timeline.now + self._hop())
        self._timeline.at(self._heard_at, act, *arguments)

    def answered(self, answer: Answer) -> None:
        """An answer has come, or the word that it will take longer."""
        if isinstance(answer, ExtendTimeout):
            self._patience = answer.timeout_ms
        else:
            self._patience = TIMEOUT_MS
            self._answered[isinstance(answer, LETS_RESPONSE)] += 1

    def _check_answered(self, in_response: bool, number: int, patience: int) -> None:
        if self._answered[in_response] >= number:
            return
        if patience < self._patience:  # it was extended meanwhile
            more = self._patience - patience
            self._timeline.after(more, self._check_answered, in_response, number, self._patience)
        else:
            self._give_up()

    def _hop(self) -> int:
        return int(self._luck.random() * (HOP_MS + 1))
