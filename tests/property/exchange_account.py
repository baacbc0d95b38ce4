"""What is known of an exchange under test: what it was told, what it asked, what it said."""

from dataclasses import dataclass, field

from sidecar.exchange.effects import (
    Count,
    LargeReply,
    RenewLater,
    WaitAtMost,
)
from sidecar.exchange.events import (
    Claimed,
    ClaimFailed,
    RequestBody,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
)
from sidecar.exchange.machine import Exchange
from sidecar.idempotency.fields import Fields
from sidecar.idempotency.outcome import Outcome
from sidecar.idempotency.policy import Policies, Policy
from sidecar.idempotency.record import Record
from tests.property.call_account import CallAccount
from tests.property.draws import Sent
from tests.unit.exchange.scenes import OWNER


@dataclass
class Asked:
    """What has been asked of the store, the origin and the clock, and not been answered yet."""

    claim: bool = False
    settling: bool = False
    noting: bool = False
    executing: bool = False
    fetching: bool = False
    waiting: bool = False
    renewals: int = 0
    timer: type[RenewLater | WaitAtMost] | None = None

    def keeps_client_waiting(self) -> bool:
        """Whether one of them may take so long that the client leaves."""
        return self.claim or self.noting or self.executing or self.waiting or self.fetching

    def keeps_envoy_waiting(self) -> bool:
        """Whether one of them will lead to an answer for Envoy."""
        return self.settling or self.keeps_client_waiting()


@dataclass
class Told:
    """What was reported to operators, and what was kept."""

    counts: list[Count] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)


class ExchangeAccount:
    """An exchange and its twin, and everything that has happened to them."""

    sent: Sent

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.exchange = Exchange(Policies((policy,)), OWNER)
        self.twin = Exchange(Policies((policy,)), OWNER)
        self.asked, self.told = Asked(), Told()
        self.visited = {self.exchange.state}
        # Envoy's messages without an answer; whether each is the last of its direction.
        self.unanswered: list[tuple[str, bool]] = []
        # What was handed over in full duplex and not given back yet; whether it is the last of the request.
        self.handed_request: list[tuple[RequestBody | RequestTrailers, bool]] = []
        self.handed_response: list[ResponseBody] = []
        self.opened_duplex = False
        """Envoy's own reply opens the stream, and its body goes in full duplex."""
        self.ended = self.replied = self.settled = self.turned_away = False
        self.gone_whole = self.extended = self.full_duplex = self.watched = self.forwarded = self.executed = (
            False
        )
        self.request_over = self.response_begun = self.response_over = False
        self.fetched = self.given = 0
        self.large: LargeReply | None = None
        self.broken = self.reply_over = False
        self.body = b""
        self.trailers: Fields = ()
        self.call: CallAccount | None = None
        self.announced: int | None = None
        self.claimed: Claimed | None = None
        self.claim_failed: ClaimFailed | None = None
        self.answered: ResponseHeaders | None = None
        self.told_uncomparable = False
        self.bypassed = self.forged = self.noted = self.unnoted = self.lease_lost = self.met_owner = False

    @property
    def held(self) -> bool:
        """Whether the claim was granted."""
        return self.claimed is not None

    @property
    def request_duplex(self) -> bool:
        """Whether the filter is configured to exchange the request's body in full duplex."""
        return hasattr(self, "sent") and self.sent.begun.request_duplex

    @property
    def response_duplex(self) -> bool:
        """The same of the response's."""
        return self.opened_duplex or (hasattr(self, "sent") and self.sent.begun.response_duplex)
