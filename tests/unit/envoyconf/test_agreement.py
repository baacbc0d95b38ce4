"""Whether Envoy's configuration has to be rendered again is known without rendering it."""

from dataclasses import fields, replace
from typing import Any

import pytest

from sidecar.envoyconf.agreement import envoy_side
from sidecar.envoyconf.bootstrap import render_bootstrap
from sidecar.envoyconf.inputs import EnvoyInputs, Upstream
from sidecar.idempotency.claim import UnknownPolicy
from sidecar.idempotency.outcome import Outcome, OutcomeRules
from sidecar.idempotency.patterns import HostPattern, PathPattern
from sidecar.idempotency.pointer import Pointer
from sidecar.idempotency.policy import (
    Execution,
    FingerprintSpec,
    InProgress,
    KeyPlace,
    KeySource,
    Match,
    Mode,
    Policies,
    Policy,
)
from sidecar.idempotency.scope import ScopePart

PLAIN = Policy("payments")
JWT, PEER = ScopePart("jwt", "sub"), ScopePart("peer", "")

SEEN_BY_ENVOY: dict[str, list[Any]] = {
    "match": [
        Match(frozenset({"PUT"})),
        Match(hosts=(HostPattern("example.com"),)),
        Match(paths=(PathPattern("/v1/**"),)),
        Match(route="payments"),
    ],
    "mode": [Mode.SHADOW, Mode.OFF],
    "key": [
        KeySource(name="x-request-key"),
        KeySource(place=KeyPlace.QUERY, name="key"),
        KeySource(place=KeyPlace.JSON, name="", pointer=Pointer.parse("/id")),
        KeySource(required=True),
    ],
    "scope": [(JWT,), (PEER,), (ScopePart("metadata", "envoy.filters.http.ext_authz.user"),)],
    "in_progress": [InProgress(wait_ms=600_000)],
    "execution": [Execution.DETACHED],
}
UNSEEN: dict[str, list[Any]] = {
    "name": ["other"],
    "scope": [(ScopePart.HOST,), (ScopePart.header("x-account"),)],
    "key": [KeySource(max_length=9)],
    "in_progress": [InProgress(status=429), InProgress(wait_ms=10_000)],
    "fingerprint": [FingerprintSpec(query=False)],
    "lease_ms": [1_000],
    "ttl_ms": [1_000],
    "unknown": [UnknownPolicy.RETRY],
    "outcomes": [OutcomeRules({"5xx": Outcome.RELEASE})],
    "tombstone_ms": [1_000],
    "deadline_ms": [600_000],
    "bypass_when_unavailable": [True],
    "max_request_body": [1],
    "max_response_body": [1],
    "exclude_response_headers": [frozenset({"x"})],
    "docs_url": ["https://example.com/keys"],
    "advertise": [True],
}


def rendered(policies: Policies) -> str:
    inputs = EnvoyInputs(
        policies, ("unix:/run/a.sock",), upstream=Upstream.parse("http://u:1"), origin="unix:///run/o.sock"
    )
    return render_bootstrap(inputs)


def one(**different: Any) -> Policies:
    return Policies((replace(PLAIN, **different),))


def cases(table: dict[str, list[Any]]) -> list[Any]:
    return [
        pytest.param({name: value}, id=f"{name}-{i}") for name in table for i, value in enumerate(table[name])
    ]


@pytest.mark.parametrize("different", cases(SEEN_BY_ENVOY))
def test_what_envoy_s_configuration_is_made_of_differs(different: dict[str, Any]) -> None:
    assert rendered(one(**different)) != rendered(one())
    assert envoy_side(one(**different)) != envoy_side(one())


@pytest.mark.parametrize("different", cases(UNSEEN))
def test_what_the_sidecar_alone_decides_does_not(different: dict[str, Any]) -> None:
    assert rendered(one(**different)) == rendered(one())
    assert envoy_side(one(**different)) == envoy_side(one())


def test_every_field_of_a_policy_has_been_thought_of() -> None:
    assert {field.name for field in fields(Policy) if field.init} == SEEN_BY_ENVOY.keys() | UNSEEN.keys()


def test_a_detached_policy_s_deadline_counts() -> None:
    def detached(deadline_ms: int) -> Policies:
        return one(execution=Execution.DETACHED, deadline_ms=deadline_ms)

    assert rendered(detached(600_000)) != rendered(detached(60_000))
    assert envoy_side(detached(600_000)) != envoy_side(detached(60_000))


def test_the_last_policy_that_enforces_closes_the_filter_for_all() -> None:
    watching = replace(PLAIN, mode=Mode.SHADOW)
    by_header = replace(PLAIN, name="b", mode=Mode.SHADOW)
    both, mixed = Policies((watching, by_header)), Policies((watching, replace(by_header, mode=Mode.ENFORCE)))
    assert rendered(both) != rendered(mixed)
    assert envoy_side(both) != envoy_side(mixed)


def test_the_order_of_policies_and_those_that_are_off_are_the_sidecar_s_alone() -> None:
    other = Policy("other", match=Match(frozenset({"PUT"})))
    off = Policy("off", match=Match(frozenset({"GET"})), mode=Mode.OFF)
    assert envoy_side(Policies((PLAIN, other))) == envoy_side(Policies((off, other, PLAIN)))


def test_of_one_that_is_off_envoy_learns_that_it_selects_by_path() -> None:
    off = Policy("off", match=Match(paths=(PathPattern("/x"),)), mode=Mode.OFF)
    assert not envoy_side(Policies((PLAIN,))).refuses_escaped
    assert envoy_side(Policies((off, PLAIN))).refuses_escaped
    assert not envoy_side(Policies((off,))).refuses_escaped
