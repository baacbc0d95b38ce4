"""What Envoy tells of a request beside its head, and a request that is only watched."""

import pytest
from envoy_data_plane.envoy.config.core.v3 import Metadata
from envoy_data_plane.envoy.service.ext_proc.v3 import HttpHeaders, ProcessingRequest
from envoy_data_plane.google.protobuf import ListValue, NullValue, Struct, Value

from sidecar.exchange.effects import WatchRequest
from sidecar.exchange.events import RequestHeaders
from sidecar.extproc.codec import decode
from sidecar.idempotency.context import NOTHING_KNOWN, Context
from tests.unit.extproc.envoy_messages import KEYED, attributes, header_map, modes, phase, the_answer

URI, DNS, SUBJECT = (f"connection.{kind}_peer_certificate" for kind in ("uri_san", "dns_san", "subject"))


def context(
    attrs: dict[str, str | float] | None = None, metadata: dict[str, Struct] | None = None
) -> Context:
    """What is read of a request of which Envoy tells this."""
    message = ProcessingRequest(
        request_headers=HttpHeaders(headers=header_map(KEYED)),
        attributes=attributes(attrs) if attrs else {},
        metadata_context=Metadata(filter_metadata=metadata) if metadata else None,
    )
    event = decode(bytes(message))
    assert isinstance(event, RequestHeaders)
    return event.request.context


def test_of_a_request_of_which_nothing_is_told_nothing_is_known() -> None:
    assert context() is NOTHING_KNOWN


def test_a_route_has_a_name() -> None:
    assert context({"xds.route_name": "payments"}) == Context(route="payments")


@pytest.mark.parametrize(
    ("told", "peer"),
    [
        ({URI: "spiffe://a/b", DNS: "b.example", SUBJECT: "CN=b"}, ("uri", "spiffe://a/b")),
        ({URI: "", DNS: "b.example", SUBJECT: "CN=b"}, ("dns", "b.example")),
        ({SUBJECT: "CN=b"}, ("subject", "CN=b")),
        ({URI: "", DNS: "", SUBJECT: ""}, None),
        ({URI: 7.0}, None),
    ],
)
def test_a_peer_is_known_by_the_most_telling_name_in_its_certificate(
    told: dict[str, str | float], peer: tuple[str, str] | None
) -> None:
    assert context(told).peer == peer


def test_metadata_is_json_by_namespace_and_key() -> None:
    claims = Struct(
        fields={
            "sub": Value(string_value="alice"),
            "age": Value(number_value=7.5),
            "admin": Value(bool_value=False),
            "nothing": Value(null_value=NullValue.NULL_VALUE),
            "unset": Value(),
            "groups": Value(list_value=ListValue(values=[Value(string_value="a"), Value(number_value=1.0)])),
            "realm": Value(struct_value=Struct(fields={"x": Value(string_value="y")})),
        }
    )

    told = context(metadata={"ns.one": Struct(fields={"payload": Value(struct_value=claims)})})

    assert told.metadata == {
        "ns.one": {
            "payload": {
                "sub": "alice",
                "age": 7.5,
                "admin": False,
                "nothing": None,
                "unset": None,
                "groups": ["a", 1.0],
                "realm": {"x": "y"},
            }
        }
    }


@pytest.mark.parametrize(
    ("has_body", "expected"),
    [
        (True, ("STREAMED", "SEND", "SEND", "STREAMED", "SEND")),
        (False, ("NONE", "SKIP", "SEND", "STREAMED", "SEND")),
    ],
)
def test_a_request_that_is_watched_passes_as_it_is_and_is_shown(
    has_body: bool, expected: tuple[str, ...]
) -> None:
    answer = the_answer(WatchRequest(has_body))

    assert phase(answer) == "request_headers"
    assert answer.request_headers is not None
    assert answer.request_headers.response is None
    assert modes(answer) == expected
