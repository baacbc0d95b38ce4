"""The header of the origin listener, as the attributes that Envoy gives its filters."""

import pytest

from sidecar.idempotency.outcome import Origin, Outcome, OutcomeRules, judge
from sidecar.origin.provenance import FLAGS, PROVENANCE, provenance, without_provenance

UNKNOWN = Origin()


def read(value: str) -> Origin:
    return provenance(((PROVENANCE, value.encode("latin-1")),))


@pytest.mark.parametrize(
    ("value", "origin"),
    [
        ("- 1 via_upstream 127.0.0.1:3000", Origin("via_upstream", 0, "127.0.0.1:3000", 1)),
        ("UF 1 reset{connect:_no} 127.0.0.1:1", Origin("reset{connect:_no}", 32, "127.0.0.1:1", 1)),
        ("UH 1 no_healthy_upstream ", Origin("no_healthy_upstream", 2, None, 1)),
        ("UH 1 no_healthy_upstream", Origin("no_healthy_upstream", 2, None, 1)),
        ("NR 0 route_not_found -", Origin("route_not_found", 256, None, 0)),
        ("NC 0 cluster_not_found ", Origin("cluster_not_found", 1 << 24, None, 0)),
        ("UF,URX 2 again /run/the app.sock", Origin("again", 32 | 1 << 15, "/run/the app.sock", 2)),
        ("UT 1 response_timeout 10.0.0.1:80", Origin("response_timeout", 4, "10.0.0.1:80", 1)),
        ("UC 1 - 10.0.0.1:80", Origin(None, 64, "10.0.0.1:80", 1)),
    ],
)  # fmt: skip
def test_the_header_says_what_the_attributes_would(value: str, origin: Origin) -> None:
    assert read(value) == origin


@pytest.mark.parametrize(
    "value",
    ["", "-", "UF", "UF 1", "UF x details host", "UF ² details host", "UF  1 d", f"UF {'9' * 5000} d h"],
)
def test_what_envoy_did_not_write_says_nothing(value: str) -> None:
    assert read(value) == UNKNOWN


def test_no_header_and_two_of_them_say_nothing() -> None:
    one = (PROVENANCE, b"UH 0 no_healthy_upstream ")

    assert provenance(()) == UNKNOWN
    assert provenance((one, one)) == UNKNOWN, "Envoy's listener leaves exactly one"


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        ("- 1 via_upstream 127.0.0.1:3000", Outcome.RELEASE),
        ("UF 1 reset{remote_connection_failure} 127.0.0.1:1", Outcome.RELEASE),
        ("UO 1 reset{overflow} ", Outcome.RELEASE),
        ("UC 1 reset{connection_termination} 127.0.0.1:1", Outcome.UNKNOWN),
        ("UPE 1 reset{protocol_error} 127.0.0.1:1", Outcome.UNKNOWN),
        ("SI 1 stream_idle_timeout 127.0.0.1:1", Outcome.UNKNOWN),
        ("XX 1 something_new 127.0.0.1:1", Outcome.UNKNOWN),
        ("nonsense", Outcome.UNKNOWN),
    ],
)  # fmt: skip
def test_a_503_is_judged_as_the_filter_would_judge_it(value: str, outcome: Outcome) -> None:
    assert judge(503, read(value), OutcomeRules()).outcome is outcome


def test_the_bits_are_those_of_the_attribute() -> None:
    measured = {"UH": 2, "UT": 4, "UF": 32, "UC": 64, "UO": 128, "NR": 256, "NC": 16_777_216}

    assert measured.items() <= FLAGS.items()
    assert len(set(FLAGS.values())) == len(FLAGS)


def test_the_header_is_taken_off_and_nothing_else() -> None:
    fields = (("a", b"1"), (PROVENANCE, b"x"), ("b", b"2"), (PROVENANCE, b"y"))

    assert without_provenance(fields) == (("a", b"1"), ("b", b"2"))
