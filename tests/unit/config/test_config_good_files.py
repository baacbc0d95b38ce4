"""Files that are right, and what they mean."""

from pathlib import Path

import pytest

from sidecar.config.endpoint import Endpoint, HostPort
from sidecar.config.loading import Settings, load
from sidecar.config.server_schema import DEFAULT_TRANSPORT
from sidecar.idempotency.body import LARGEST_BODY_BYTES
from sidecar.idempotency.claim import UnknownPolicy
from sidecar.idempotency.outcome import Outcome
from sidecar.idempotency.patterns import HostPattern, PathPattern
from sidecar.idempotency.pointer import Pointer
from sidecar.idempotency.policy import (
    BodyMode,
    Execution,
    FingerprintSpec,
    InProgress,
    KeyFormat,
    KeyPlace,
    KeySource,
    Match,
    Mode,
    Policies,
    Policy,
)
from sidecar.idempotency.scope import ScopePart

GOOD = Path("tests/configs/good")
DEFAULTS = Policies((Policy("default"),))


def loaded(name: str) -> Settings:
    return load(GOOD / f"{name}.yaml", {})


@pytest.mark.parametrize("file", sorted(GOOD.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_good_file_is_accepted(file: Path) -> None:
    assert load(file, {}).policies.policies


def test_no_file_means_one_policy_with_the_defaults_of_the_domain() -> None:
    settings = load(None, {})

    assert settings.policies == DEFAULTS
    assert settings.server.listen == Endpoint(path="/run/idempotency/ext_proc.sock")
    assert settings.server.admin == HostPort("127.0.0.1", 9902)
    assert settings.server.workers == 1
    assert settings.server.transport == DEFAULT_TRANSPORT
    assert settings.server.socket_mode == 0o600
    assert settings.store.url.get_secret_value() == "redis://127.0.0.1:6379/0"
    assert settings.store.prefix == "idem"
    assert settings.store.timeout_ms == 250
    assert (settings.origin.url, settings.origin.max_concurrent) == (None, 256)


@pytest.mark.parametrize("name", ["minimal", "empty-sections"])
def test_what_is_left_out_has_its_default(name: str) -> None:
    assert loaded(name) == load(None, {})


def test_the_complete_example_spells_out_the_defaults_for_one_path() -> None:
    (policy,) = loaded("complete").policies.policies

    paths = (PathPattern("/v1/payments/**"),)
    assert policy == Policy("payments", match=Match(frozenset({"POST", "PATCH"}), paths=paths))


def test_values_are_what_their_field_says_and_not_what_yaml_guesses() -> None:
    settings = loaded("unquoted")
    off, numbered = settings.policies.policies

    assert (settings.server.workers, settings.store.prefix) == (8, "0123")
    assert (off.name, off.mode) == ("off", Mode.OFF)
    assert (numbered.name, numbered.key.required, numbered.key.max_length) == ("2024", True, 64)
    assert (numbered.fingerprint.query, numbered.fingerprint.body) == (False, BodyMode.NONE)
    assert (numbered.lease_ms, numbered.max_response_body) == (60_000, 0)
    assert numbered.outcomes.overrides == {"503": Outcome.RECORD, "5xx": Outcome.RELEASE}


def test_anchors_and_merge_keys_share_what_policies_have_in_common() -> None:
    payments, refunds, orders = loaded("anchors").policies.policies

    assert [payments.lease_ms, refunds.lease_ms, orders.lease_ms] == [60_000] * 3
    assert refunds.match.hosts == payments.match.hosts == (HostPattern("api.example.com"),)
    assert refunds.match.paths == (PathPattern("/v1/refunds"),)
    assert (payments.ttl_ms, orders.ttl_ms) == (86_400_000, 7_200_000)


def test_every_field_of_a_policy_reaches_the_domain() -> None:
    settings = loaded("workers-on-ports")

    assert settings.policies == Policies(
        (
            Policy(
                "payments",
                match=Match(
                    frozenset({"POST", "M-SEARCH"}),
                    tuple(map(HostPattern, ("*.example.com", "API.example.com:8443", "[2001:db8::1]:80"))),
                    (PathPattern("/v1/*/payments/**"),),
                ),
                key=KeySource("x-request-key", required=True, format=KeyFormat.STRICT),
                scope=(ScopePart.header("x-tenant"), ScopePart.HOST),
                fingerprint=FingerprintSpec(headers=("content-type", "x-version")),
                in_progress=InProgress(429, 120),
                ttl_ms=365 * 86_400_000,
                outcomes=settings.policies.policies[0].outcomes,
                max_request_body=1 << 30,
                max_response_body=LARGEST_BODY_BYTES,
                exclude_response_headers=frozenset({"set-cookie", "x-trace"}),
                docs_url="https://docs.example.com/errors#idempotency",
                bypass_when_unavailable=True,
            ),
        ),
    )
    assert settings.policies.policies[0].outcomes.overrides == {
        "404": Outcome.RELEASE,
        "502": Outcome.RECORD,
    }


def test_a_key_in_a_json_body_is_found_by_its_pointer() -> None:
    tools, *_ = loaded("keys-anywhere").policies.policies

    assert tools == Policy(
        "tools",
        match=Match(frozenset({"POST"}), paths=(PathPattern("/mcp"),), route="mcp-tools"),
        key=KeySource(
            name="",
            place=KeyPlace.JSON,
            pointer=Pointer("/params/_meta/idempotencyKey", ("params", "_meta", "idempotencyKey")),
            required=True,
            max_length=64,
        ),
        scope=(
            ScopePart("jwt", "sub"),
            ScopePart("jwt", "https://example.com/tenant"),
            ScopePart.HOST,
            ScopePart.PATH,
        ),
        fingerprint=FingerprintSpec(
            body=BodyMode.JSON,
            omit=(Pointer.parse("/id"), Pointer.parse("/params/_meta")),
            query_order=False,
        ),
        docs_url="https://docs.example.com/retries",
        advertise=True,
    )


def test_only_the_name_of_a_header_loses_its_case() -> None:
    _, links, *_ = loaded("keys-anywhere").policies.policies

    assert links.key == KeySource(name="requestId", place=KeyPlace.QUERY)
    assert links.scope == (
        ScopePart("peer"),
        ScopePart("metadata", "envoy.filters.http.ext_authz.User"),
        ScopePart("header", "x-tenant"),
    )
    assert links.fingerprint == FingerprintSpec(body=BodyMode.FORM)


def test_the_window_of_a_derived_key_stands_in_for_its_ttl() -> None:
    _, _, repeats, whole_day = loaded("keys-anywhere").policies.policies

    assert (repeats.mode, repeats.key) == (Mode.SHADOW, KeySource(name="", place=KeyPlace.DERIVED))
    assert (repeats.ttl_ms, whole_day.ttl_ms) == (600_000, 12 * 3_600_000)


def test_the_key_of_a_header_needs_no_name() -> None:
    environ = {"IDEMPOTENCY__POLICIES__0__KEY__REQUIRED": "true"}

    assert load(None, environ).policies.policies[0].key == KeySource("idempotency-key", required=True)


def test_what_outlives_its_client_reaches_the_domain() -> None:
    settings = loaded("detached")
    transfers, _ = settings.policies.policies

    assert settings.origin.url == "unix:///run/idempotency/origin.sock"
    assert settings.origin.max_concurrent == 32
    assert (transfers.execution, transfers.deadline_ms) == (Execution.DETACHED, 300_000)
    assert transfers.in_progress == InProgress(wait_ms=90_000)
    assert (transfers.unknown, transfers.tombstone_ms) == (UnknownPolicy.RETRY, 30 * 86_400_000)
    assert transfers.max_request_body == 65_536


def test_a_wait_counts_only_where_the_action_is_to_wait() -> None:
    _, notes = loaded("detached").policies.policies

    assert notes.in_progress.wait_ms == 0


def test_a_policy_may_say_for_itself_what_happens_without_a_store() -> None:
    transfers, notes = loaded("detached").policies.policies

    assert not transfers.bypass_when_unavailable
    assert notes.bypass_when_unavailable, "the store section's word stands where the policy says nothing"


@pytest.mark.parametrize(
    "url", ["unix:///run/o.sock", "http://127.0.0.1:8081", "http://[::1]:8081", "http://orders:80"]
)
def test_detached_calls_go_to_a_socket_or_an_address(url: str) -> None:
    assert load(None, {"IDEMPOTENCY__ORIGIN__URL": url}).origin.url == url


def test_a_policy_that_is_off_needs_no_origin() -> None:
    environ = {"IDEMPOTENCY__POLICIES__0__EXECUTION": "detached", "IDEMPOTENCY__POLICIES__0__MODE": "off"}

    assert load(None, environ).origin.url is None


def test_workers_on_ports_may_stand_next_to_admin_ports_of_another_host() -> None:
    server = loaded("workers-on-ports").server

    assert server.listen.for_worker(1, 4).address == "[::1]:9002"
    assert server.admin.for_worker(3, 4).address == "localhost:9005"


@pytest.mark.parametrize(("text", "mode"), [("0600", 0o600), ("0660", 0o660), ("0777", 0o777)])
def test_the_socket_s_mode_is_octal_in_quotes_or_without(tmp_path: Path, text: str, mode: int) -> None:
    file = tmp_path / "sidecar.yaml"
    for written in (text, f'"{text}"'):
        file.write_text(f"server: {{socket_mode: {written}}}\n")
        assert load(file, {}).server.socket_mode == mode


def test_on_a_port_the_socket_s_mode_is_not_asked_for() -> None:
    assert load(None, {"IDEMPOTENCY__SERVER__LISTEN": "127.0.0.1:9000"}).server.socket_mode == 0o600


def test_either_transport_can_be_chosen() -> None:
    chosen = [
        load(None, {"IDEMPOTENCY__SERVER__TRANSPORT": name}).server.transport for name in ("grpcio", "native")
    ]

    assert chosen == ["grpcio", "native"]


def test_every_worker_has_an_admin_address_of_its_own() -> None:
    assert [str(address) for address in loaded("workers-on-ports").server.admins] == [
        f"localhost:{port}" for port in range(9002, 9006)
    ]


def test_a_worker_drains_for_half_a_minute_or_until_its_longest_detached_call_is_kept() -> None:
    assert load(None, {}).drain_s == 30
    assert loaded("detached").drain_s == 300 + 5


def test_settings_do_not_show_the_address_of_the_store() -> None:
    settings = load(None, {"IDEMPOTENCY__STORE__URL": "redis://:hunter2@redis:6379/0"})

    assert settings.store.url.get_secret_value() == "redis://:hunter2@redis:6379/0"
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings.store)
