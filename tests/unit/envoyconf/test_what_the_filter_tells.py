"""What the filter asks Envoy to tell of a request, and what becomes of requests where the sidecar is down."""

from dataclasses import replace
from typing import Any

import pytest
import yaml

from sidecar.envoyconf.filter import enabled_by_header, render_filter
from sidecar.envoyconf.inputs import EnvoyInputs
from sidecar.envoyconf.knowledge import PEER_NAMES, ROUTE
from sidecar.envoyconf.version import EnvoyVersion
from sidecar.extproc.codec.context import read_context
from sidecar.extproc.wire import ext_proc_pb2 as pb
from sidecar.idempotency.identity import JWT_NAMESPACE
from sidecar.idempotency.policy import KeyPlace, KeySource, Match, Mode, Policies, Policy
from sidecar.idempotency.scope import ScopePart
from sidecar.idempotency.telling import TELLS, sources_told

PLAIN = Policy("plain")
WATCHED = Policy("watched", mode=Mode.SHADOW)
OFF = Policy("off", mode=Mode.OFF)
BY_ROUTE = Policy("by-route", match=Match(route="payments"))
BY_PEER = Policy("by-peer", scope=(ScopePart("peer"), ScopePart.HOST))
BY_CLAIM = Policy("by-claim", scope=(ScopePart("jwt", "sub"),))
BY_NOTE = Policy("by-note", scope=(ScopePart("metadata", "acme.gateway.tenant"),))


def rendered(*policies: Policy, version: EnvoyVersion = EnvoyVersion.SUPPORTED[-1]) -> str:
    return render_filter(EnvoyInputs(Policies(policies), ("unix:/run/a.sock",), envoy_version=version))


def processor(*policies: Policy, version: EnvoyVersion = EnvoyVersion.SUPPORTED[-1]) -> dict[str, Any]:
    entries = yaml.safe_load(rendered(*policies, version=version))["http_filters"]
    (own,) = (entry for entry in entries if entry["name"] == "idempotency")
    found: dict[str, Any] = own["typed_config"]["extension_config"]["typed_config"]
    return found


# --- Attributes and metadata


@pytest.mark.parametrize("policies", [(), (PLAIN,), (replace(BY_ROUTE, mode=Mode.OFF), PLAIN), (OFF,)])
def test_where_no_policy_asks_for_more_nothing_but_the_head_is_sent(policies: tuple[Policy, ...]) -> None:
    asked = processor(*policies)

    assert "request_attributes" not in asked
    assert "metadata_options" not in asked
    assert "initial_metadata" not in asked["grpc_service"]


@pytest.mark.parametrize(
    ("policy", "attributes"),
    [
        (BY_ROUTE, [ROUTE]),
        (BY_PEER, [*PEER_NAMES]),
        (replace(BY_PEER, match=BY_ROUTE.match), [ROUTE, *PEER_NAMES]),
    ],
)
def test_the_attributes_are_those_that_a_policy_asks_for(policy: Policy, attributes: list[str]) -> None:
    assert processor(PLAIN, policy)["request_attributes"] == attributes


@pytest.mark.parametrize(
    ("policies", "namespaces"),
    [
        ((BY_CLAIM,), [JWT_NAMESPACE]),
        ((BY_NOTE,), ["acme.gateway"]),
        ((BY_NOTE, BY_CLAIM, BY_CLAIM), ["acme.gateway", JWT_NAMESPACE]),
    ],
)
def test_the_namespaces_are_those_that_a_scope_is_read_from(
    policies: tuple[Policy, ...], namespaces: list[str]
) -> None:
    assert processor(*policies)["metadata_options"] == {"forwarding_namespaces": {"untyped": namespaces}}


def test_a_policy_that_only_watches_is_told_as_much() -> None:
    assert processor(replace(BY_PEER, mode=Mode.SHADOW))["request_attributes"] == [*PEER_NAMES]


def test_the_sidecar_reads_each_attribute_under_the_name_that_envoy_is_asked_for() -> None:
    for kind, attribute in zip(("uri", "dns", "subject"), PEER_NAMES, strict=True):
        told = pb.ProcessingRequest()
        told.attributes["idempotency"].update({attribute: "me", ROUTE: "payments"})
        context = read_context(told)
        assert (context.peer, context.route) == ((kind, "me"), "payments")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    "policies",
    [
        (BY_PEER,),
        (PLAIN, BY_NOTE, BY_CLAIM),
        (Policy("odd", scope=(ScopePart("metadata", "a, b/ü.c"),)), BY_PEER),
        (BY_CLAIM, replace(BY_PEER, mode=Mode.OFF)),
    ],
)
def test_the_filter_says_what_it_tells_so_that_the_sidecar_knows_what_it_is_not_told(
    policies: tuple[Policy, ...], workers: int
) -> None:
    endpoints = tuple(f"unix:/run/{number}.sock" for number in range(workers))
    entries = yaml.safe_load(render_filter(EnvoyInputs(Policies(policies), endpoints)))["http_filters"]
    own = entries[-1]["typed_config"]["extension_config"]["typed_config"]
    (told,) = own["grpc_service"]["initial_metadata"]

    assert told["key"] == TELLS
    assert told["value"].isascii()
    assert sources_told(told["value"]) == Policies(policies).needs != frozenset()


# --- Without the sidecar


@pytest.mark.parametrize(
    ("policies", "passes"),
    [
        ((WATCHED,), True),
        ((WATCHED, OFF), True),
        ((WATCHED, PLAIN), False),
        ((PLAIN,), False),
        ((OFF,), False),
        ((), False),
    ],
)
def test_only_where_everything_is_just_watched_do_requests_pass_without_the_sidecar(
    policies: tuple[Policy, ...], passes: bool
) -> None:
    assert processor(*policies).get("failure_mode_allow", False) is passes


def test_what_is_rendered_says_why_it_fails_as_it_does() -> None:
    assert "failure_mode_allow stays false, its default" in rendered(PLAIN)
    assert "failure_mode_allow is true: every policy here only watches" in rendered(WATCHED)
    assert "Render this again, and use it, before a policy enforces" in rendered(WATCHED)


@pytest.mark.parametrize("version", EnvoyVersion.SUPPORTED, ids=str)
def test_what_is_only_watched_is_shown_on_demand_whatever_the_envoy(version: EnvoyVersion) -> None:
    asked = processor(WATCHED, version=version)

    assert asked["allow_mode_override"]
    assert asked["processing_mode"] == processor(PLAIN)["processing_mode"]


# --- Which keys let routes decide


@pytest.mark.parametrize("place", [KeyPlace.QUERY, KeyPlace.JSON, KeyPlace.DERIVED])
def test_no_header_decides_where_a_key_is_elsewhere(place: KeyPlace) -> None:
    def decided(*policies: Policy) -> set[str]:
        return set(enabled_by_header(EnvoyInputs(Policies(policies), ("unix:/run/a.sock",))))

    elsewhere = Policy("elsewhere", key=KeySource(place=place))
    assert decided(PLAIN, elsewhere) == set()
    assert decided(PLAIN, replace(elsewhere, mode=Mode.OFF)) == {"idempotency-key", "idempotency-attempt"}
    assert decided(replace(PLAIN, mode=Mode.SHADOW)) == {"idempotency-key", "idempotency-attempt"}
