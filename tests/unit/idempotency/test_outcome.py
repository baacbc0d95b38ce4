"""Every row of CONTRACT §5 that an HTTP response can give, and what Envoy's own replies mean."""

import pytest

from sidecar.idempotency.grpc import GrpcStatus
from sidecar.idempotency.outcome import (
    Origin,
    Outcome,
    OutcomeRules,
    Verdict,
    is_envoys_own,
    judge,
    judge_call,
)

DEFAULT = OutcomeRules()
UPSTREAM = Origin("via_upstream", 0, "10.0.0.1:80", 1)
UH, UT, LR, UR, UF, UC, UO, NR, NC = 2, 4, 8, 16, 32, 64, 128, 256, 1 << 24

RELEASED, UNKNOWN = {408, 425, 429, 503}, {502, 504}


@pytest.mark.parametrize(
    "status", [*range(200, 227), *range(300, 309), *range(400, 452), *range(500, 512), 599]
)
def test_the_upstreams_own_answer_counts_by_its_status(status: int) -> None:
    expected = Outcome.RECORD
    if status in RELEASED:
        expected = Outcome.RELEASE
    elif status in UNKNOWN:
        expected = Outcome.UNKNOWN

    assert judge(status, UPSTREAM, DEFAULT) == Verdict(expected, "status")


def test_a_policy_overrides_a_status() -> None:
    rules = OutcomeRules({"503": Outcome.RECORD, "200": Outcome.UNKNOWN})

    assert judge(503, UPSTREAM, rules).outcome is Outcome.RECORD
    assert judge(200, UPSTREAM, rules).outcome is Outcome.UNKNOWN
    assert judge(201, UPSTREAM, rules).outcome is Outcome.RECORD


def test_a_policy_overrides_a_class_over_the_whole_table() -> None:
    rules = OutcomeRules({"5xx": Outcome.RELEASE})

    assert {judge(status, UPSTREAM, rules).outcome for status in (500, 502, 503, 504, 599)} == {
        Outcome.RELEASE
    }
    assert judge(429, UPSTREAM, rules).outcome is Outcome.RELEASE
    assert judge(404, UPSTREAM, rules).outcome is Outcome.RECORD


def test_a_status_wins_over_its_class() -> None:
    rules = OutcomeRules({"4xx": Outcome.RELEASE, "409": Outcome.RECORD})

    assert judge(409, UPSTREAM, rules).outcome is Outcome.RECORD
    assert judge(404, UPSTREAM, rules).outcome is Outcome.RELEASE


NEVER_SENT = [
    (503, Origin("upstream_reset_before_response_started{remote_connection_failure}", UF, "10.0.0.1:80", 1)),
    (503, Origin("upstream_reset_before_response_started{overflow}", UO, "10.0.0.1:80", 1)),
    (503, Origin("upstream_reset_before_response_started{overflow}", UO, None, 0)),
    (503, Origin("no_healthy_upstream", UH, None, 0)),
    (503, Origin("cluster_not_found", NC, None, 0)),
    (503, Origin("cluster_not_found", NC, None, None)),
    (404, Origin("route_not_found", NR, None, 0)),
    (404, Origin("route_not_found", NR, None, None)),
    # A filter between this one and the router answered.
    (403, Origin("rbac_access_denied", 0, None, 0)),
    (401, Origin("jwt_authn_access_denied", 1 << 12, None, None)),
    (429, Origin("local_rate_limited", 1 << 11, "", 0)),
]


@pytest.mark.parametrize(("status", "origin"), NEVER_SENT, ids=repr)
def test_envoys_own_reply_to_a_request_that_reached_no_upstream_releases(status: int, origin: Origin) -> None:
    assert judge(status, origin, DEFAULT) == Verdict(Outcome.RELEASE, "envoy-never-sent")


MAY_HAVE_BEEN_SENT = [
    (503, Origin("upstream_reset_before_response_started{connection_termination}", UC, "10.0.0.1:80", 1)),
    (503, Origin("upstream_reset_before_response_started{remote_reset}", UR, "10.0.0.1:80", 1)),
    (504, Origin("response_timeout", UT, "10.0.0.1:80", 1)),
    (504, Origin("upstream_per_try_timeout", UT, "10.0.0.1:80", 1)),
    # An earlier attempt may have got through.
    (503, Origin("upstream_reset_before_response_started{remote_connection_failure}", UF, "10.0.0.1:80", 2)),
    (503, Origin("no_healthy_upstream", UH, "10.0.0.1:80", 2)),
    (503, Origin("upstream_reset_before_response_started{overflow}", UO, "10.0.0.1:80", 3)),
    # Sent, lost, and not repeated for want of room: one attempt.
    (503, Origin("upstream_reset_before_response_started{connection_termination}", UC | UO, "1.1.1.1:80", 1)),
    (504, Origin("upstream_per_try_timeout", UT | UO, "10.0.0.1:80", 1)),
    (503, Origin("upstream_reset_before_response_started{remote_reset}", UR | UH, "10.0.0.1:80", 1)),
    # A host was chosen, and how often it was tried is not told.
    (
        503,
        Origin("upstream_reset_before_response_started{remote_connection_failure}", UF, "1.1.1.1:80", None),
    ),
    # No flags are told at all.
    (504, Origin("response_timeout")),
    (503, Origin("upstream_reset_before_response_started{connection_termination}", None, None, 1)),
    # Tried once, and no word of why it ended.
    (500, Origin("something_new", 0, "10.0.0.1:80", 1)),
    (500, Origin("something_new", None, "10.0.0.1:80", None)),
    (500, Origin("something_new", 0, None, 1)),
]


@pytest.mark.parametrize(("status", "origin"), MAY_HAVE_BEEN_SENT, ids=repr)
def test_envoys_own_reply_after_the_request_may_have_been_sent_is_unknown(
    status: int, origin: Origin
) -> None:
    assert judge(status, origin, DEFAULT) == Verdict(Outcome.UNKNOWN, "envoy-may-have-sent")


@pytest.mark.parametrize("flag", [UT, LR, UR, UC])
def test_a_flag_of_a_request_under_way_counts_though_attempts_and_address_are_not_told(flag: int) -> None:
    origin = Origin("response_timeout", flag, None, None)

    assert judge(504, origin, DEFAULT).outcome is Outcome.UNKNOWN
    assert judge(504, Origin(None, flag, None, None), DEFAULT).outcome is Outcome.UNKNOWN


def test_overrides_are_for_the_upstreams_own_answers_only() -> None:
    rules = OutcomeRules({"5xx": Outcome.RELEASE, "504": Outcome.RECORD})

    assert judge(504, Origin("response_timeout", UT, "10.0.0.1:80", 1), rules).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    "origin", [Origin(), Origin(flags=0), Origin(address="10.0.0.1:80", attempts=1)], ids=repr
)
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, Outcome.RECORD),
        (201, Outcome.RECORD),
        (404, Outcome.RECORD),
        (429, Outcome.RELEASE),
        (500, Outcome.UNKNOWN),
        (503, Outcome.UNKNOWN),
        (504, Outcome.UNKNOWN),
    ],
)
def test_where_envoy_says_nothing_of_the_origin_every_5xx_is_unknown(
    status: int, expected: Outcome, origin: Origin
) -> None:
    assert judge(status, origin, DEFAULT) == Verdict(expected, "status-only")


# --- gRPC calls

S = GrpcStatus
CALLS_RELEASED = {S.RESOURCE_EXHAUSTED, S.UNAVAILABLE}
CALLS_UNKNOWN = {S.CANCELLED, S.UNKNOWN, S.DEADLINE_EXCEEDED, S.ABORTED, S.INTERNAL, S.DATA_LOSS}


def expected_of(status: GrpcStatus) -> Outcome:
    if status in CALLS_RELEASED:
        return Outcome.RELEASE
    return Outcome.UNKNOWN if status in CALLS_UNKNOWN else Outcome.RECORD


@pytest.mark.parametrize("status", GrpcStatus)
def test_a_call_counts_by_its_status(status: GrpcStatus) -> None:
    assert judge_call(status, UPSTREAM, DEFAULT) == Verdict(expected_of(status), "grpc-status")


@pytest.mark.parametrize("status", GrpcStatus)
@pytest.mark.parametrize("outcome", Outcome)
def test_a_policy_overrides_a_status_of_grpc(status: GrpcStatus, outcome: Outcome) -> None:
    rules = OutcomeRules({f"grpc:{status.name}": outcome, "2xx": Outcome.RECORD, "200": Outcome.RECORD})

    for given in GrpcStatus:
        assert rules.of_call(given) is (outcome if given is status else expected_of(given))
    assert rules.of_status(200) is Outcome.RECORD


@pytest.mark.parametrize("status", GrpcStatus)
def test_of_a_call_envoy_answered_itself_only_whether_it_was_sent_counts(status: GrpcStatus) -> None:
    refused = Origin(
        "upstream_reset_before_response_started{remote_connection_failure}", UF, "10.0.0.1:80", 1
    )
    timeout = Origin("response_timeout", UT, "10.0.0.1:80", 1)
    rules = OutcomeRules({f"grpc:{status.name}": Outcome.RECORD})

    assert judge_call(status, refused, rules) == Verdict(Outcome.RELEASE, "envoy-never-sent")
    assert judge_call(status, timeout, rules) == Verdict(Outcome.UNKNOWN, "envoy-may-have-sent")


@pytest.mark.parametrize("status", GrpcStatus)
def test_where_envoy_says_nothing_a_call_that_is_unavailable_is_unknown(status: GrpcStatus) -> None:
    expected = Outcome.UNKNOWN if status is S.UNAVAILABLE else expected_of(status)

    assert judge_call(status, Origin(), DEFAULT) == Verdict(expected, "status-only")


@pytest.mark.parametrize(
    ("origin", "own"),
    [
        (UPSTREAM, False),
        (Origin("via_upstream", UT), False),
        (Origin(), False),
        (Origin(flags=0, address="10.0.0.1:80", attempts=1), False),
        (Origin("direct_response", 0), True),
        (Origin(None, UH), True),
    ],
)
def test_envoy_says_whether_it_answered_itself(origin: Origin, own: bool) -> None:
    assert is_envoys_own(origin) is own
