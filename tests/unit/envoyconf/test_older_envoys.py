"""What is rendered for which Envoy, and what is said of those that cannot do everything."""

from dataclasses import replace
from typing import Any

import pytest
import yaml

from sidecar.envoyconf.bootstrap import render_bootstrap
from sidecar.envoyconf.examples import example_inputs
from sidecar.envoyconf.filter import render_filter
from sidecar.envoyconf.shortcomings import shortcoming
from sidecar.envoyconf.version import NEWEST, EnvoyVersion
from sidecar.idempotency.outcome import Outcome, OutcomeRules
from sidecar.idempotency.policy import Match, Mode, Policy

V36, V37, V38, V39, V40 = EnvoyVersion.SUPPORTED
BODIES = ("request_body_mode", "response_body_mode")


def filters(version: EnvoyVersion) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(render_filter(example_inputs(version)))["http_filters"]
    return found


def processor(version: EnvoyVersion) -> dict[str, Any]:
    (own,) = (each for each in filters(version) if each["name"] == "idempotency")
    found: dict[str, Any] = own["typed_config"]["extension_config"]["typed_config"]
    return found


# --- Versions


@pytest.mark.parametrize("text", ["1.39", "1.39.0", "1.39.12"])
def test_a_version_is_a_minor_version_or_a_release_of_one(text: str) -> None:
    assert EnvoyVersion.parse(text) == V39
    assert str(EnvoyVersion.parse(text)) == "1.39"


@pytest.mark.parametrize(
    "text", ["", "1", "1.35", "1.41", "2.36", "1.39.", "1.39.x", "v1.39", "1.39-dev", "1.39.1.1", " 1.39"]
)
def test_what_is_no_version_or_not_supported_is_told_what_is(text: str) -> None:
    allowed = "allowed: 1.36, 1.37, 1.38, 1.39 or 1.40, or a release of one, such as 1.39.1"

    with pytest.raises(ValueError, match=allowed) as refused:
        EnvoyVersion.parse(text)

    assert str(refused.value).startswith(f"{text} is not available; ")


def test_versions_are_in_the_order_of_their_release() -> None:
    assert list(EnvoyVersion.SUPPORTED) == sorted(EnvoyVersion.SUPPORTED)
    assert max(EnvoyVersion.SUPPORTED) == NEWEST
    assert EnvoyVersion(1, 9) < EnvoyVersion(1, 36)


# --- What is rendered


def test_the_newest_is_asked_for_heads_and_shows_bodies_on_demand() -> None:
    assert processor(V40)["allow_mode_override"]
    assert not set(BODIES) & set(processor(V40)["processing_mode"]), "NONE, the default"


@pytest.mark.parametrize("version", [V37, V38, V39], ids=str)
def test_an_older_one_hands_over_everything_in_full_duplex(version: EnvoyVersion) -> None:
    asked = processor(version)

    assert asked["processing_mode"] == {
        "request_header_mode": "SEND",
        "response_header_mode": "SEND",
        "request_body_mode": "FULL_DUPLEX_STREAMED",
        "response_body_mode": "FULL_DUPLEX_STREAMED",
        "request_trailer_mode": "SEND",
        "response_trailer_mode": "SEND",
    }
    assert "allow_mode_override" not in asked, "none is taken where a body goes in full duplex"


def test_one_that_streams_no_replies_shows_the_response_as_it_passes() -> None:
    modes = processor(V36)["processing_mode"]

    assert [modes[body] for body in BODIES] == ["FULL_DUPLEX_STREAMED", "STREAMED"]


@pytest.mark.parametrize("version", [V38, V39, V40], ids=str)
def test_one_that_can_keep_lengths_is_told_to(version: EnvoyVersion) -> None:
    assert processor(version)["allow_content_length_header"]
    assert [each["name"] for each in filters(version)] == ["idempotency"]


@pytest.mark.parametrize("version", [V36, V37], ids=str)
def test_lengths_are_noted_before_and_written_behind_where_the_filter_takes_them_off(
    version: EnvoyVersion,
) -> None:
    note_request, keep_response, own, keep_request, note_response = filters(version)

    assert "allow_content_length_header" not in processor(version)
    assert own["name"] == "idempotency"
    noted = [note_request["typed_config"]["request_rules"], note_response["typed_config"]["response_rules"]]
    assert [rule["header"] for rules in noted for rule in rules] == ["content-length"] * 2
    for keeping, direction in ((keep_request, "request"), (keep_response, "response")):
        ((kind, (mutation,)),) = keeping["typed_config"]["mutations"].items()
        assert kind == f"{direction}_mutations"
        assert mutation["append"]["header"] == {
            "key": "content-length",
            "value": f"%DYNAMIC_METADATA(idempotency.lengths:{direction})%",
        }
        assert "keep_empty_value" not in mutation["append"], "nothing was noted, nothing is written"


@pytest.mark.parametrize("version", EnvoyVersion.SUPPORTED, ids=str)
def test_what_is_rendered_says_for_which_envoy_and_how_to_make_it_again(version: EnvoyVersion) -> None:
    option = "" if version == NEWEST else f" --envoy-version {version}"

    head = render_bootstrap(example_inputs(version)).splitlines()[:2]
    pasted = render_filter(example_inputs(version)).splitlines()[:2]

    assert head[0] == f"# An Envoy {version} with the idempotency filter in front of one upstream."
    assert f"--format bootstrap{option}. Change the policies" in head[1]
    assert pasted[0].startswith(f"# The idempotency filter and its cluster, for Envoy {version}, ")
    assert f"--format filter{option}. Render it again" in pasted[1]


def test_several_filters_are_to_be_pasted_in_their_order() -> None:
    assert "put the entry after authentication" in render_filter(example_inputs(V38))
    assert "put all entries, in this order, after authentication" in render_filter(example_inputs(V37))


def test_the_bootstrap_has_the_filters_of_its_envoy_before_the_router() -> None:
    rendered = yaml.safe_load(render_bootstrap(replace(example_inputs(V36), origin=None, policies=_PLAIN)))
    (listener,) = rendered["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]

    names = [each["name"] for each in manager["http_filters"]]
    assert names == [*(each["name"] for each in filters(V36)), "envoy.filters.http.router"]


_PLAIN = replace(example_inputs().policies, policies=(Policy("default"),))


# --- What it cannot do


def test_an_envoy_that_streams_replies_lacks_nothing() -> None:
    for version in EnvoyVersion.SUPPORTED[1:]:
        assert shortcoming(Policy("default"), version) is None


def test_a_policy_for_grpc_is_of_no_use_where_no_reply_is_streamed() -> None:
    rules = OutcomeRules({"grpc:ABORTED": Outcome.RELEASE})
    lacks = shortcoming(Policy("calls", outcomes=rules), V36)

    assert lacks is not None
    assert lacks.defeats
    assert "cannot replay gRPC calls: a retry gets response-not-stored" in lacks.message


def test_a_policy_for_head_is_of_no_use_there_and_one_for_more_is() -> None:
    only, among = (
        shortcoming(Policy("lookups", match=Match(methods=frozenset(methods))), V36)
        for methods in (("HEAD",), ("HEAD", "POST"))
    )

    assert only is not None
    assert only.defeats
    assert among is not None
    assert not among.defeats


def test_a_policy_that_is_off_lacks_nothing() -> None:
    assert shortcoming(Policy("unused", mode=Mode.OFF), V36) is None
