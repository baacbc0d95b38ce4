"""Planted bugs: what a simulation has to find to be worth anything."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.simulation.planted_exchanges import (
    AnswersTwice,
    BelievesTheHead,
    BypassesOwners,
    ComparesStreams,
    CountsNoMessages,
    FailsOpen,
    ForgetsClaimsItNeverHeardOf,
    ForgetsDetachedAnswers,
    ForgetsThatNobodyCanCompare,
    ForgetsTheCaller,
    ForgetsWhatCameEarly,
    GivesTheEndBackAtOnce,
    KeepsEveryByte,
    LosesTrailers,
    NeverCompares,
    NeverComparesTakeovers,
    NeverRenews,
    NotesTooLate,
    PassesTheRestUnnoted,
    RecordsAfterTheEnd,
    RecordsCallsAtTheirHead,
    RefusesCallsOverHttp,
    ReleasesTakeovers,
    ReleasesWhatIsBeingNoted,
    ReleasesWhatWasForwarded,
    ReleasesWhenTheClientLeaves,
    SettlesNothingWhenTheClientLeaves,
    ShowsForgeries,
    ShowsWhatWasHandedOver,
    TakesOverBlindly,
    WaitsForTheEnd,
    WaitsForTheEndOfCalls,
)
from tests.simulation.planted_stores import (
    CompletesForAnybody,
    ForgetsRecords,
    ForgetsTheAttempt,
    ForgetsTombstones,
    ForgetsWhatWasNoted,
    IgnoresTheLease,
    LetsTakeoversBeReleased,
    ReadsThenWrites,
    ReleasesForAnybody,
    RenewsForAnybody,
)
from tests.simulation.policies import ROWS
from tests.simulation.world import Product


@dataclass(frozen=True, slots=True)
class Plant:
    """A product with a planted bug.

    It must be found to break one of `rules` within `within` schedules under the policies `rows`.
    """

    product: Product
    rules: tuple[str, ...]
    within: int
    rows: tuple[str, ...] = tuple(ROWS)


WITHIN = 4_000
"""The rarest of them takes some 1,400 schedules on average."""

_RETRYING = ("retry", "retry, tombstone", "retry, wait")
PLANTS: Mapping[str, Plant] = {
    "complete without the owner check": Plant(Product(store=CompletesForAnybody), ("invariant 1",), WITHIN),
    "renew without the owner check": Plant(Product(store=RenewsForAnybody), ("invariant 1",), WITHIN),
    "release without the owner check": Plant(Product(store=ReleasesForAnybody), ("invariant 1",), WITHIN),
    "a claim that reads and then writes": Plant(Product(store=ReadsThenWrites), ("G1",), WITHIN),
    "a claim that ignores the lease": Plant(Product(store=IgnoresTheLease), ("invariant 1",), WITHIN),
    "an attempt counted from one again": Plant(Product(store=ForgetsTheAttempt), ("G1",), WITHIN),
    "a record kept after the end was released": Plant(Product(RecordsAfterTheEnd), ("G2",), WITHIN),
    "a release of what was forwarded": Plant(Product(ReleasesWhatWasForwarded), ("G1",), WITHIN),
    "a release when the client leaves": Plant(Product(ReleasesWhenTheClientLeaves), ("G1",), WITHIN),
    "nothing settled when the client leaves": Plant(
        Product(SettlesNothingWhenTheClientLeaves), ("invariant 5",), WITHIN
    ),
    "a detached answer that is not kept": Plant(Product(ForgetsDetachedAnswers), ("G1",), WITHIN),
    "a tombstone that is forgotten": Plant(Product(store=ForgetsTombstones), ("G1", "invariant 1"), WITHIN),
    "a replay that compares nothing": Plant(Product(NeverCompares), ("G3",), WITHIN),
    "a takeover that compares nothing": Plant(Product(NeverComparesTakeovers), ("G3",), WITHIN),
    "a takeover that is released": Plant(
        Product(ReleasesTakeovers, LetsTakeoversBeReleased), ("G3",), WITHIN
    ),
    "a fingerprint that is not noted": Plant(Product(NotesTooLate), ("G3",), WITHIN),
    "an early answer that is not noted": Plant(Product(PassesTheRestUnnoted), ("G3",), WITHIN),
    "a takeover of what nobody can compare with": Plant(Product(TakesOverBlindly), ("G3", "G5"), WITHIN),
    "a note that is not said again": Plant(
        Product(ForgetsThatNobodyCanCompare), ("G3", "G5"), WITHIN, _RETRYING
    ),
    "a release of what is answered while it is noted": Plant(
        Product(ReleasesWhatIsBeingNoted), ("G1",), WITHIN, _RETRYING
    ),
    "a bypass after a wait": Plant(Product(BypassesOwners), ("G5",), WITHIN),
    "a note that is forgotten": Plant(Product(store=ForgetsWhatWasNoted), ("G3",), WITHIN),
    "a release of all but the end": Plant(Product(WaitsForTheEnd), ("G1", "G3"), WITHIN),
    "a store failure that lets requests through": Plant(Product(FailsOpen), ("G5",), WITHIN),
    "a claim forgotten when its answer is lost": Plant(
        Product(ForgetsClaimsItNeverHeardOf), ("invariant 4",), WITHIN
    ),
    "a scope without the caller": Plant(Product(ForgetsTheCaller), ("G4",), WITHIN),
    "a capture without a limit": Plant(Product(KeepsEveryByte), ("invariant 5",), WITHIN),
    "a gRPC call judged by its HTTP status": Plant(Product(BelievesTheHead), ("outcomes",), WITHIN),
    "a gRPC call recorded whatever it ends with": Plant(
        Product(RecordsCallsAtTheirHead), ("outcomes",), WITHIN
    ),
    "a gRPC message that does not count until the end": Plant(
        Product(WaitsForTheEndOfCalls), ("G1", "G3"), WITHIN
    ),
    "a stream that is given again": Plant(Product(CountsNoMessages), ("streams", "G5"), WITHIN),
    "a stream that is compared with": Plant(
        Product(ComparesStreams), ("invariant 3", "streams", "G5"), WITHIN
    ),
    "a gRPC call refused over HTTP": Plant(Product(RefusesCallsOverHttp), ("G5",), WITHIN),
    "a lease that is not renewed": Plant(Product(NeverRenews), ("leases",), WITHIN),
    "trailers that are not kept": Plant(Product(LosesTrailers), ("G2", "outcomes"), WITHIN),
    "a record that is forgotten": Plant(Product(store=ForgetsRecords), ("G2",), WITHIN),
    "a forged mark of a replay": Plant(Product(ShowsForgeries), ("G2",), WITHIN),
    "a body that is lost where it comes early": Plant(
        Product(ForgetsWhatCameEarly), ("invariant 3", "G2", "G3", "G5"), WITHIN
    ),
    "a body that is let pass where it was handed over": Plant(
        Product(ShowsWhatWasHandedOver), ("invariant 3", "G2"), WITHIN
    ),
    "an end that is given back before its record is kept": Plant(
        Product(GivesTheEndBackAtOnce), ("G2",), WITHIN
    ),
    "a second answer to one message": Plant(Product(AnswersTwice), ("invariant 3",), WITHIN),
}
"""Every promise that is dropped on purpose, and how soon it is missed."""
