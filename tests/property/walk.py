"""One walk: Envoy, the store, the origin and the clock, each doing what it may do next, drawn at random.

Envoy keeps its order and shows what it was asked to show; the others may answer anything at any time.
"""

from collections.abc import Callable
from typing import TypeAlias

from hypothesis import strategies as st

from sidecar.exchange.effects import RenewLater
from sidecar.exchange.events import (
    Event,
    Executed,
    RenewalDue,
    RequestBody,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
    StreamEnded,
    WaitOver,
)
from sidecar.exchange.states import TABLE
from sidecar.idempotency.body import HeldBody
from sidecar.idempotency.fields import first
from tests.property.call_account import CallAccount
from tests.property.draws import (
    CALL_HEADS,
    CALL_STATUSES,
    DATA,
    EXECUTIONS,
    MESSAGES,
    NOTINGS,
    PIECES,
    POLICIES,
    RENEWALS,
    REQUESTS,
    RESPONSE_HEADS,
    SETTLINGS,
    WAITS,
    claim_answers,
)
from tests.property.promises import Promises

Move: TypeAlias = Callable[[], None]

ENDS = st.sampled_from([False] * 23 + [True])


class Walk(Promises):
    """Everything around one exchange."""

    def __init__(self, data: st.DataObject) -> None:
        super().__init__(data.draw(POLICIES, "the policy"))
        self.data = data
        self.request_begun = self.called_off = False
        self.rest: list[RequestBody | RequestTrailers] = []
        self.shown = 0

    def step(self) -> bool:
        """Let one of them do something; False where nothing can happen any more."""
        moves = self.possible()
        if not self.ended and (self.broken or not moves or self.data.draw(ENDS, "the stream ends")):
            moves = [self.stream_ends]
        if not moves:
            return False
        self.data.draw(st.sampled_from(moves))()
        return True

    def run_out(self) -> None:
        """Bring a long walk to its end: the stream's, then every answer that is under way."""
        if not self.ended:
            self.stream_ends()
        while moves := [move for move in self.possible() if move != self.timer_rings]:
            moves[0]()

    def possible(self) -> list[Move]:
        """Everything that may happen now."""
        opening = not (self.ended or self.request_begun or self.response_begun)
        moves: tuple[tuple[Move, bool], ...] = (
            *[(self.sends_request_head, opening)] * 9,
            *[(self.sends_more_of_request, self.may_send_request())] * 2,
            *[(self.sends_response_head, self.may_send_response_head())] * 2,
            (self.sends_response_body, self.may_send_response()),
            (self.sends_response_trailers, self.may_send_response()),
            *[(self.store_answers_claim, self.asked.claim)] * 9,
            (self.store_answers_settling, self.asked.settling),
            (self.store_answers_noting, self.asked.noting),
            (self.store_answers_renewal, self.asked.renewals > 0),
            (self.store_ends_wait, self.asked.waiting),
            *[(self.store_answers_fetching, self.asked.fetching)] * 3,
            (self.store_ends_wait_too_late, self.called_off),
            (self.origin_answers, self.asked.executing),
            (self.timer_rings, self.asked.timer is not None),
            (self.stream_ends, not self.ended and self.asked.keeps_client_waiting()),
        )
        return [move for move, possible in moves if possible]

    # --- What Envoy may do

    def sends_request_head(self) -> None:
        self.sent = self.data.draw(REQUESTS, "the request")
        self.rest = list(self.sent.rest)
        self.request_begun, self.request_over = True, self.sent.begun.end_of_stream
        if self.sent.is_call:
            self.call = CallAccount()
            self.call.request_over = self.request_over
        self.sends("request head", self.sent.begun, last=self.request_over)

    def sends_more_of_request(self) -> None:
        event = self.rest.pop(0)
        self.request_over = not self.rest
        data = event.data if isinstance(event, RequestBody) else b""
        self.shown += len(data)
        length = first(self.sent.begun.request.headers, "content-length")
        whole = length is not None and self.shown >= int(length)
        if self.call is not None:
            self.call.request += data
            announced_end = whole and not self.full_duplex
            self.call.request_over = self.call.request_over or self.request_over or announced_end
            whole = whole or self.call.may_execute()
        name = "request body" if isinstance(event, RequestBody) else "request trailers"
        self.sends(name, event, last=self.request_over or whole)

    def sends_response_head(self) -> None:
        event = self.data.draw(RESPONSE_HEADS if self.call is None else CALL_HEADS)
        self.response_begun, self.response_over = True, event.end_of_stream
        self.opened_duplex = not self.request_begun and self.data.draw(st.booleans())
        self.forged = first(event.headers, "idempotent-replayed") is not None
        length = first(event.headers, "content-length")
        awaits_trailers = self.call is not None and event.status == 200
        self.announced = None if length is None or awaits_trailers else int(length)
        if event.status in {204, 304} and not awaits_trailers:
            self.announced = 0
        if self.full_duplex or (self.request_duplex and not self.forwarded and not self.bypassed):
            # Its own reply, to a request that it holds: nothing is waited for in the other direction.
            self.unanswered.clear()
            self.handed_request.clear()
            self.rest.clear()
        self.sends("response head", event, last=event.end_of_stream or self.announced == 0)

    def sends_response_body(self) -> None:
        data = self.data.draw(DATA if self.call is None else MESSAGES)
        event = ResponseBody(data, self.data.draw(st.booleans()))
        self.response_over = event.end_of_stream
        self.body += event.data
        if self.call is not None:
            self.call.response += event.data
        self.handed_response.append(event)
        self.sends("response body", event, last=self.is_whole())

    def sends_response_trailers(self) -> None:
        self.response_over = True
        self.trailers = (("sum", b"1"),)
        if self.call is not None:
            self.trailers = self.call.trailers = (*self.data.draw(CALL_STATUSES), *self.trailers)
        self.sends("response trailers", ResponseTrailers(self.trailers), last=True)

    def stream_ends(self) -> None:
        self.ended = True
        self.called_off = self.called_off or self.asked.waiting
        self.unanswered.clear()
        self.hear(StreamEnded())

    def sends(self, message: str, event: Event, *, last: bool = False) -> None:
        """A message that wants an answer, save the pieces of a request that is read in full duplex."""
        if self.request_duplex and isinstance(event, RequestBody | RequestTrailers):
            self.handed_request.append((event, last))
        elif not (self.full_duplex and message.startswith("request")):
            self.unanswered.append((message, last))
        self.hear(event)

    # --- What order Envoy keeps

    def may_send_request(self) -> bool:
        """After its head was answered with a wish for more, or put off with one, until its end."""
        shown = self.request_begun and bool(self.rest) and not self.ended
        if self.full_duplex:
            return shown and not self.response_begun
        if self.request_duplex:
            return shown
        head = any(message == "request head" for message, _ in self.unanswered)
        return shown and not head and not self.replied and (self.watched or self.response_begun)

    def may_send_response_head(self) -> bool:
        """Alone on its stream, or to a request that may be forwarded and is watched."""
        if self.ended or self.response_begun or self.replied:
            return False
        if self.request_duplex:
            # Whatever becomes of the request: the filter is configured to show every response.
            return (self.exchange.state, ResponseHeaders) in TABLE
        return not self.request_begun or self.watched

    def may_send_response(self) -> bool:
        """After its head was let go with a wish for more, or in full duplex at once, until its end."""
        shown = self.response_begun and not self.response_over and not self.ended and not self.broken
        if self.response_duplex:
            return shown  # it waits for no answer
        return (
            shown and self.watched and not any(message == "response head" for message, _ in self.unanswered)
        )

    # --- What the store may do

    def store_answers_claim(self) -> None:
        self.asked.claim = False
        self.hear(self.data.draw(claim_answers(self.sent, self.policy, again=self.met_owner)))

    def store_answers_settling(self) -> None:
        self.asked.settling, self.settled = False, True
        self.hear(self.data.draw(SETTLINGS))

    def store_answers_noting(self) -> None:
        self.asked.noting = False
        self.hear(self.data.draw(NOTINGS))

    def store_answers_renewal(self) -> None:
        self.asked.renewals -= 1
        self.hear(self.data.draw(RENEWALS))

    def store_ends_wait(self) -> None:
        self.asked.waiting = False
        self.hear(self.data.draw(WAITS))

    def store_answers_fetching(self) -> None:
        self.asked.fetching = False
        self.hear(self.data.draw(PIECES))

    def store_ends_wait_too_late(self) -> None:
        """It had answered when the wait was called off."""
        self.called_off = False
        self.hear(self.data.draw(WAITS))

    # --- What the origin and the clock may do

    def origin_answers(self) -> None:
        self.asked.executing = False
        event = self.data.draw(EXECUTIONS)
        if isinstance(event, Executed):
            assert not isinstance(event.body, HeldBody)
            self.body = event.body or b""
        self.hear(event)

    def timer_rings(self) -> None:
        renews = self.asked.timer is RenewLater
        self.asked.timer = None
        self.called_off = self.called_off or (self.asked.waiting and not renews)
        self.hear(RenewalDue() if renews else WaitOver())
