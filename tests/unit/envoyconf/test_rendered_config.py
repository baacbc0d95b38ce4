import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.envoyconf.bootstrap import render_bootstrap
from sidecar.envoyconf.examples import render_examples
from sidecar.envoyconf.filter import render_filter
from sidecar.envoyconf.inputs import EnvoyInputs, SidecarTls, Upstream
from sidecar.envoyconf.upstream_cluster import system_ca_bundle
from sidecar.idempotency.patterns import PathPattern
from sidecar.idempotency.policy import KeySource, Match, Mode, Policies, Policy

BY_PATH = Policy("payments", match=Match(paths=(PathPattern("/v1/payments"),)))
SOCKETS = ("unix:/run/a.sock.0", "unix:/run/a.sock.1")


def bootstrap(
    url: str = "http://127.0.0.1:3000",
    *,
    policies: tuple[Policy, ...] = (Policy("default"),),
    endpoints: tuple[str, ...] = ("unix:/run/a.sock",),
    admin_path: str | None = None,
) -> dict[str, Any]:
    inputs = EnvoyInputs(Policies(policies), endpoints, upstream=Upstream.parse(url), admin_path=admin_path)
    rendered: dict[str, Any] = yaml.safe_load(render_bootstrap(inputs))
    return rendered


def manager(rendered: dict[str, Any]) -> dict[str, Any]:
    (listener,) = rendered["static_resources"]["listeners"]
    found: dict[str, Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def clusters(rendered: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    sidecar, upstream = rendered["static_resources"]["clusters"]
    return sidecar, upstream


def ext_proc(rendered: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = manager(rendered)["http_filters"][0]["typed_config"]["extension_config"][
        "typed_config"
    ]
    return found


def http_protocol(cluster: dict[str, Any]) -> dict[str, Any]:
    (options,) = cluster["typed_extension_protocol_options"].values()
    return dict(options)


def route(rendered: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = manager(rendered)["route_config"]["virtual_hosts"][0]["routes"][0]["route"]
    return found


def test_the_timeouts_reach_the_filter() -> None:
    slow = EnvoyInputs(Policies(()), SOCKETS, store_timeout_ms=40_000)
    entry = yaml.safe_load(render_filter(slow))["http_filters"][0]
    processor = entry["typed_config"]["extension_config"]["typed_config"]

    assert processor["message_timeout"] == "80.500s"
    assert processor["max_message_timeout"] == "80.500s", "never below the timeout it may extend"


def test_the_filter_fails_closed_and_asks_for_request_headers_only() -> None:
    processor = ext_proc(bootstrap())

    assert "failure_mode_allow" not in processor
    assert processor["status_on_error"] == {"code": "ServiceUnavailable"}
    assert processor["allow_mode_override"]
    assert processor["allow_content_length_header"]
    assert processor["processing_mode"] == {
        "request_header_mode": "SEND",
        "response_header_mode": "SKIP",
        "request_trailer_mode": "SKIP",
        "response_trailer_mode": "SKIP",
    }


def test_the_filter_stands_right_before_the_router() -> None:
    assert [entry["name"] for entry in manager(bootstrap())["http_filters"]] == [
        "idempotency",
        "envoy.filters.http.router",
    ]


def test_every_worker_is_an_endpoint_of_its_own() -> None:
    sidecar, _ = clusters(bootstrap(endpoints=SOCKETS))

    members = sidecar["load_assignment"]["endpoints"][0]["lb_endpoints"]
    paths = [member["endpoint"]["address"]["pipe"]["path"] for member in members]
    assert paths == ["/run/a.sock.0", "/run/a.sock.1"]
    assert http_protocol(sidecar)["explicit_http_config"] == {"http2_protocol_options": {}}


def test_several_workers_are_checked_and_stand_in_for_each_other() -> None:
    alone, together = bootstrap(), bootstrap(endpoints=SOCKETS)

    assert "health_checks" not in clusters(alone)[0]
    assert "retry_policy" not in ext_proc(alone)["grpc_service"]
    assert clusters(together)[0]["health_checks"][0]["grpc_health_check"] == {}
    again = ext_proc(together)["grpc_service"]["retry_policy"]
    assert again["retry_on"] == "reset,cancelled"
    assert again["host_selection_retry_max_attempts"] == "64", "a dead worker is the least loaded: draw again"
    assert again["retry_back_off"] == {"base_interval": "0.005s"}


def test_workers_behind_a_name_are_resolved_and_kept_alive_by_tcp() -> None:
    sidecar, _ = clusters(bootstrap(endpoints=("sidecar:9000",)))

    assert sidecar["type"] == "STRICT_DNS"
    assert sidecar["dns_lookup_family"] == "V4_PREFERRED"
    assert "tcp_keepalive" in sidecar["upstream_connection_options"]
    assert "connection_keepalive" not in str(sidecar), "a gRPC server takes HTTP/2 pings for abuse"


def tls_context(name: str) -> dict[str, Any]:
    tls = SidecarTls("/ca.pem", "/client.pem", "/client.key", name)
    inputs = EnvoyInputs(Policies(()), ("sidecar:9000", "sidecar:9001"), sidecar_tls=tls)
    (cluster,) = yaml.safe_load(render_filter(inputs))["clusters"]
    found: dict[str, Any] = cluster["transport_socket"]["typed_config"]
    return found


def test_tls_to_the_sidecar_shows_a_certificate_and_speaks_http2() -> None:
    common = tls_context("sidecar.example")["common_tls_context"]

    assert common["tls_params"] == {
        "tls_minimum_protocol_version": "TLSv1_2",
        "tls_maximum_protocol_version": "TLSv1_3",
    }
    assert common["tls_certificates"] == [
        {"certificate_chain": {"filename": "/client.pem"}, "private_key": {"filename": "/client.key"}}
    ]
    assert common["validation_context"]["trusted_ca"] == {"filename": "/ca.pem"}
    assert common["alpn_protocols"] == ["h2"]


@pytest.mark.parametrize(
    ("name", "kind", "server_name"),
    [
        ("sidecar.example", "DNS", "sidecar.example"),
        ("192.0.2.7", "IP_ADDRESS", None),
        ("2001:db8::7", "IP_ADDRESS", None),
        ("spiffe://example.org/sidecar", "URI", None),
    ],
)
def test_the_sidecar_has_to_be_who_it_is_said_to_be(name: str, kind: str, server_name: str | None) -> None:
    context = tls_context(name)

    checks = context["common_tls_context"]["validation_context"]
    assert checks["match_typed_subject_alt_names"] == [{"san_type": kind, "matcher": {"exact": name}}]
    assert context.get("sni") == server_name, "an IP address or a URI may not be sent as SNI"


def test_without_tls_the_sidecar_is_spoken_to_in_the_clear() -> None:
    assert "transport_socket" not in clusters(bootstrap(endpoints=("sidecar:9000",)))[0]


def test_an_http1_upstream_is_given_up_before_it_closes_the_connection() -> None:
    _, upstream = clusters(bootstrap("http://localhost:3000"))

    assert upstream["type"] == "STRICT_DNS"
    assert http_protocol(upstream)["common_http_protocol_options"] == {"idle_timeout": "1s"}
    assert http_protocol(upstream)["explicit_http_config"] == {
        "http_protocol_options": {"enable_trailers": True}
    }
    assert "transport_socket" not in upstream


def test_an_h2c_upstream_is_spoken_to_in_http2() -> None:
    _, upstream = clusters(bootstrap("h2c://127.0.0.1:50051"))

    assert http_protocol(upstream)["explicit_http_config"] == {"http2_protocol_options": {}}
    assert "transport_socket" not in upstream


def test_a_tls_upstream_is_verified_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    rendered = bootstrap("https://shop.example:8443")

    context = clusters(rendered)[1]["transport_socket"]["typed_config"]
    assert context["sni"] == "shop.example"
    assert context["auto_sni_san_validation"]
    assert context["common_tls_context"]["validation_context"] == {"trusted_ca": {"filename": str(bundle)}}
    assert route(rendered)["host_rewrite_literal"] == "shop.example:8443"


def test_a_tls_upstream_at_an_ip_address_is_verified_by_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))

    context = clusters(bootstrap("https://192.0.2.7"))[1]["transport_socket"]["typed_config"]
    assert "sni" not in context
    assert context["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"] == [
        {"san_type": "IP_ADDRESS", "matcher": {"exact": "192.0.2.7"}}
    ]


def test_a_machine_without_certificate_authorities_is_told_what_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Path, "is_file", lambda _: False)

    with pytest.raises(ValueError, match="set SSL_CERT_FILE"):
        system_ca_bundle()


def test_a_cleartext_upstream_sees_the_host_that_the_client_sent() -> None:
    assert "host_rewrite_literal" not in route(bootstrap())


def test_only_what_http2_says_was_not_processed_is_retried() -> None:
    action = route(bootstrap())

    assert action["retry_policy"] == {"retry_on": "refused-stream", "num_retries": 1}
    assert "hedge_policy" not in action
    assert action["timeout"] == "0s"


def test_no_client_is_internal() -> None:
    connections = manager(bootstrap())

    assert connections["use_remote_address"]
    assert "internal_address_config" not in connections


@pytest.mark.parametrize(
    ("policies", "action"),
    [
        ((BY_PATH,), "REJECT_REQUEST"),
        ((Policy("default"),), "KEEP_UNCHANGED"),
        ((Policy("idle", match=BY_PATH.match, mode=Mode.OFF), Policy("default")), "REJECT_REQUEST"),
        ((Policy("watched", match=BY_PATH.match, mode=Mode.SHADOW), Policy("default")), "REJECT_REQUEST"),
        ((Policy("idle", match=BY_PATH.match, mode=Mode.OFF),), "KEEP_UNCHANGED"),
        ((Policy("watched", match=BY_PATH.match, mode=Mode.SHADOW),), "KEEP_UNCHANGED"),
    ],
)
def test_escaped_slashes_are_refused_where_they_could_evade_a_policy(
    policies: tuple[Policy, ...], action: str
) -> None:
    assert manager(bootstrap(policies=policies))["path_with_escaped_slashes_action"] == action


def test_the_admin_interface_is_left_out_unless_it_has_a_socket() -> None:
    assert "admin" not in bootstrap()
    assert bootstrap(admin_path="/run/admin.sock")["admin"] == {
        "address": {"pipe": {"path": "/run/admin.sock"}}
    }


def test_a_bootstrap_without_an_upstream_is_refused() -> None:
    with pytest.raises(ValueError, match="needs an upstream, such as http://"):
        render_bootstrap(EnvoyInputs(Policies(()), SOCKETS))


@pytest.mark.parametrize("name", ["bootstrap.yaml", "filter.yaml", "filter-1.36.yaml"])
def test_the_examples_are_what_the_renderer_makes_today(name: str) -> None:
    committed = Path(__file__).parents[3] / "envoy" / name

    assert committed.read_text(encoding="utf-8") == render_examples()[name], "run: make docs"


def test_the_inputs_load_without_envoys_types() -> None:
    program = "import sys, sidecar.envoyconf.inputs; print('envoy_data_plane' in sys.modules)"

    printed = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout
    assert printed.strip() == "False"


# --- Which requests meet the filter at all


def routes(rendered: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = manager(rendered)["route_config"]["virtual_hosts"][0]["routes"]
    return found


def told_apart(rendered: dict[str, Any]) -> list[str]:
    """The headers that enable the filter, in the order of the routes."""
    return [route["match"]["headers"][0]["name"] for route in routes(rendered)[:-1]]


def test_where_no_key_is_demanded_only_requests_with_a_key_or_an_attempt_meet_the_filter() -> None:
    orders = Policy("orders", key=KeySource(name="x-order-key"))
    rendered = bootstrap(policies=(orders, Policy("default")))

    assert manager(rendered)["http_filters"][0]["disabled"] is True
    assert told_apart(rendered) == ["x-order-key", "idempotency-key", "idempotency-attempt"]
    assert routes(rendered)[-1]["match"] == {"prefix": "/"}
    assert "typed_per_filter_config" not in routes(rendered)[-1]


def test_a_route_that_enables_the_filter_changes_nothing_else_and_leaves_the_decision_to_the_matcher() -> (
    None
):
    rendered = bootstrap(policies=(Policy("default"),))
    matcher = manager(rendered)["http_filters"][0]["typed_config"]["xds_matcher"]

    *enabling, everything = routes(rendered)
    assert len(enabling) == 2
    for found in enabling:
        assert found["match"]["prefix"] == "/"
        assert found["match"]["headers"][0]["present_match"] is True
        assert found["route"] == everything["route"]
        assert found["typed_per_filter_config"]["idempotency"]["config"]["xds_matcher"] == matcher


def test_where_a_policy_demands_a_key_every_request_meets_the_filter() -> None:
    demanding = Policy("payments", key=KeySource(required=True))
    rendered = bootstrap(policies=(demanding, Policy("default")))

    assert "disabled" not in manager(rendered)["http_filters"][0]
    assert told_apart(rendered) == []


def test_a_policy_that_is_off_demands_nothing_and_enables_nothing() -> None:
    off = Policy("off", mode=Mode.OFF, key=KeySource(name="x-off", required=True))
    rendered = bootstrap(policies=(off, Policy("default")))

    assert told_apart(rendered) == ["idempotency-key", "idempotency-attempt"]


def test_a_filter_for_other_peoples_routes_is_never_disabled() -> None:
    entry = yaml.safe_load(render_filter(EnvoyInputs(Policies((Policy("default"),)), SOCKETS)))

    assert "disabled" not in entry["http_filters"][0]
