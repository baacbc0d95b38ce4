"""The origin listener: when it is rendered, where, and what it does to a call."""

from typing import Any

import pytest
import yaml

from sidecar.envoyconf.addresses import TcpAddress, UnixAddress, parse_origin
from sidecar.envoyconf.bootstrap import render_bootstrap
from sidecar.envoyconf.filter import render_filter
from sidecar.envoyconf.inputs import EnvoyInputs, Upstream
from sidecar.idempotency.policy import Execution, InProgress, Mode, Policies, Policy
from sidecar.origin.provenance import PROVENANCE, PROVENANCE_FORMAT

DETACHED = Policy("transfers", execution=Execution.DETACHED)
SOCKET = "unix:///run/idempotency/origin.sock"


def inputs(
    *policies: Policy, origin: str | None = SOCKET, upstream: str | None = "http://127.0.0.1:3000"
) -> EnvoyInputs:
    return EnvoyInputs(
        Policies(policies),
        ("unix:/run/a.sock",),
        upstream=None if upstream is None else Upstream.parse(upstream),
        origin=origin,
    )


def listeners(made: EnvoyInputs) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(render_bootstrap(made))["static_resources"]["listeners"]
    return found


def manager(listener: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return found


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (SOCKET, UnixAddress("/run/idempotency/origin.sock")),
        ("http://127.0.0.1:8081", TcpAddress("127.0.0.1", 8081)),
        ("http://localhost:8081/", TcpAddress("127.0.0.1", 8081)),
        ("http://[::1]:8081", TcpAddress("::1", 8081)),
        ("http://orders:80", TcpAddress("orders", 80)),
    ],
)
def test_an_origin_is_read_from_its_url(text: str, address: TcpAddress | UnixAddress) -> None:
    assert parse_origin(text) == address


@pytest.mark.parametrize(
    "text", ["", "unix://o.sock", "https://h:1", "http://h", "127.0.0.1:80", "http://unix:/x"]
)
def test_any_other_origin_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(
        ValueError, match="is not an origin; allowed: unix:///absolute/path or http://HOST:PORT"
    ):
        parse_origin(text)
    with pytest.raises(ValueError, match="is not an origin"):
        inputs(origin=text)


@pytest.mark.parametrize(
    ("origin", "address"),
    [
        (SOCKET, {"pipe": {"path": "/run/idempotency/origin.sock", "mode": 0o600}}),
        ("http://127.0.0.1:8081", {"socket_address": {"address": "127.0.0.1", "port_value": 8081}}),
        ("http://localhost:8081", {"socket_address": {"address": "127.0.0.1", "port_value": 8081}}),
        ("http://[::1]:8081", {"socket_address": {"address": "::1", "port_value": 8081}}),
    ],
)
def test_it_stands_where_only_this_machine_reaches_it(origin: str, address: dict[str, Any]) -> None:
    _, listener = listeners(inputs(DETACHED, origin=origin))

    assert listener["name"] == "idempotency_origin"
    assert listener["address"] == address


@pytest.mark.parametrize(
    ("policies", "origin"),
    [
        ((Policy("default"),), SOCKET),
        ((Policy("idle", execution=Execution.DETACHED, mode=Mode.OFF),), None),
        ((DETACHED,), "http://orders.internal:80"),
        ((DETACHED,), "http://192.0.2.7:80"),
        ((DETACHED,), "http://127.0.0.1:3000"),
    ],
)
def test_it_is_left_out_where_no_call_would_come_to_it(
    policies: tuple[Policy, ...], origin: str | None
) -> None:
    assert len(listeners(inputs(*policies, origin=origin))) == 1


def test_a_detached_policy_needs_an_origin() -> None:
    with pytest.raises(ValueError, match="a policy is detached and no origin is given; allowed: unix:///"):
        inputs(DETACHED, origin=None)


def test_it_has_the_route_of_the_main_listener_and_not_its_filter() -> None:
    main, origin = map(manager, listeners(inputs(DETACHED)))
    (route,) = origin["route_config"]["virtual_hosts"][0]["routes"]

    assert route == main["route_config"]["virtual_hosts"][0]["routes"][-1]
    assert route["match"] == {"prefix": "/"}
    assert (
        origin["route_config"]["request_headers_to_remove"]
        == main["route_config"]["request_headers_to_remove"]
    )
    assert [entry["name"] for entry in origin["http_filters"]] == [
        "envoy.filters.http.header_mutation",
        "envoy.filters.http.router",
    ]


def test_every_answer_is_marked_over_whatever_the_upstream_wrote() -> None:
    first = manager(listeners(inputs(DETACHED))[1])["http_filters"][0]["typed_config"]

    assert first["mutations"]["response_mutations"] == [
        {
            "append": {
                "header": {"key": PROVENANCE, "value": PROVENANCE_FORMAT},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        }
    ]


def test_what_the_main_listener_made_of_a_request_is_left_alone() -> None:
    origin = manager(listeners(inputs(DETACHED))[1])

    changing = ("use_remote_address", "normalize_path", "merge_slashes", "path_with_escaped_slashes_action")
    assert not set(changing) & set(origin)
    assert "internal_address_config" not in origin
    assert origin["preserve_external_request_id"]
    assert origin["max_request_headers_kb"] == 96
    assert origin["common_http_protocol_options"] == {"max_headers_count": 200}


def test_a_call_is_never_one_connection_too_many() -> None:
    main, origin = listeners(inputs(DETACHED))

    assert "ignore_global_conn_limit" not in main
    assert origin["ignore_global_conn_limit"]


def test_no_idle_timeout_comes_before_a_deadline() -> None:
    patient = Policy(
        "patient",
        execution=Execution.DETACHED,
        deadline_ms=3_600_000,
        in_progress=InProgress(wait_ms=600_000),
    )
    main, origin = map(manager, listeners(inputs(patient)))

    assert main["stream_idle_timeout"] == "4230s", "a duplicate may wait, and then execute"
    assert origin["stream_idle_timeout"] == "3630s"


def test_the_filter_format_says_where_the_listener_goes() -> None:
    text = render_filter(inputs(DETACHED, upstream=None))
    (listener,) = yaml.safe_load(text)["listeners"]

    assert "put the entry among static_resources.listeners" in text
    assert manager(listener)["route_config"] == {"name": "idempotency_origin"}


def test_the_filter_format_says_nothing_of_a_listener_that_is_not_needed() -> None:
    text = render_filter(inputs(Policy("default"), upstream=None))

    assert set(yaml.safe_load(text)) == {"http_filters", "clusters"}
    assert "origin" not in text
