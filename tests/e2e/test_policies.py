"""Which requests are protected, whose key it is and what counts as the same, through a real Envoy.

Envoy's configuration is the rendered one, with what an operator adds to it: routes with names, filters that
verify tokens and note tenants, a listener that verifies client certificates.
"""

import copy
import hashlib
import ssl
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from tests.e2e import tokens
from tests.e2e.fleet import Fleet, running_fleet, wait_until
from tests.stack.certificates import Authority, Signed
from tests.stack.ports import ports_in_a_row
from tests.stack.upstream import Upstream, running_upstream
from tests.stack.valkey import Server

JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}


def policy(name: str, **fields: object) -> dict[str, object]:
    """A policy for the targets under its name."""
    return {"name": name, "match": {"methods": ["POST"], "paths": [f"/{name}/**"]}, **fields}


POLICIES: list[Mapping[str, object]] = [
    {"name": "special", "match": {"methods": ["POST"], "route": "special"}, "key": {"required": True}},
    policy("by-name", key={"name": "X-First", "required": True}),
    policy("by-name", key={"name": "X-Second", "required": True}) | {"name": "second"},
    policy("query", key={"from": "query", "name": "key"}),
    policy("rpc", key={"from": "json", "name": "/params/_meta/idempotencyKey"}),
    policy("rpc-required", key={"from": "json", "name": "/id", "required": True}),
    policy("derived", key={"from": "derived", "window": "1h"}, fingerprint={"body": "json"}),
    policy("brief", key={"from": "derived", "window": "2s"}, lease="1s"),
    policy("meaning", fingerprint={"body": "json", "omit": ["/sent_at"]}),
    policy("form", fingerprint={"body": "form", "query_order": "any"}),
    policy("traced", fingerprint={"headers": ["x-amount"], "query": False, "body": "none"}),
    policy("jwt", scope=["jwt:sub", "path"]),
    policy("peer", scope=["peer", "path"]),
    policy("tenant", scope=["metadata:tenants.by.header.id", "path"]),
    policy("hosts", scope=["host", "path"], fingerprint={"headers": []}),
    policy("shadow", mode="shadow", key={"required": True}),
    policy("telling", advertise=True, docs_url="https://docs.example/keys", ttl="1h"),
    policy("off", mode="off"),
    {"name": "site", "match": {"paths": ["/site/**"], "hosts": ["api.example", "*.shop.example"]}},
    {"name": "read", "match": {"methods": ["GET", "PUT"], "paths": ["/read/*/item"]}},
    policy("short", key={"max_length": 8}),
    policy("forgetful", lease="1s", ttl="2s"),
    {"name": "methods", "match": {"methods": ["POST", "PUT"], "paths": ["/methods/**"]}, "scope": ["method"]},
    policy("caller", scope=["header:x-caller", "path"]),
    policy("bounded", fingerprint={"body": "json"}, max_request_body="1KiB"),
]


@dataclass(frozen=True)
class Scene:
    """What runs, and how to talk to it."""

    fleet: Fleet
    upstream: Upstream
    mutual: str
    """The URL of the listener that verifies client certificates."""
    authority: Authority

    def post(
        self, target: str, *, content: bytes = b"x", headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """A request; `headers` with a key or without."""
        return httpx.post(f"{self.fleet.url}{target}", content=content, headers=headers, timeout=20)

    def post_as(self, peer: Signed, target: str, key: str) -> httpx.Response:
        """A keyed request of a client that shows a certificate."""
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        context.load_cert_chain(peer.certificate, peer.key)
        with httpx.Client(verify=context, timeout=20) as client:
            return client.post(f"{self.mutual}{target}", content=b"x", headers={"idempotency-key": key})

    def counted(self, policy: str, result: str) -> float:
        """How many requests of a policy were decided so."""
        found = self.fleet.metric("idempotency_requests_total", policy=policy, result=result)
        return sum(found.values())


@pytest.fixture(scope="module")
def scene(valkey: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    mutual = ports_in_a_row(1)

    def revise(bootstrap: dict[str, Any]) -> None:
        _revise(bootstrap, authority, str(mutual))

    with (
        running_upstream() as upstream,
        running_fleet(
            upstream, valkey.url, server={}, policies=POLICIES, revise=revise, wait_for_envoy=False
        ) as fleet,
    ):
        yield Scene(fleet, upstream, f"https://{mutual}", authority)


def _revise(bootstrap: dict[str, Any], authority: Authority, mutual: str) -> None:
    """What operators add: names of routes, a policy named by one, filters, mutual TLS."""
    (listener, *_) = bootstrap["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    _name_routes(manager)
    manager["http_filters"][:0] = [_verifying_tokens(), _noting_tenants()]
    secure = copy.deepcopy(listener)
    secure["name"] = "mutual"
    host, _, port = mutual.rpartition(":")
    secure["address"]["socket_address"].update(address=host, port_value=int(port))
    secure["filter_chains"][0]["transport_socket"] = _mutual_tls(authority)
    bootstrap["static_resources"]["listeners"].append(secure)


def _name_routes(manager: dict[str, Any]) -> None:
    (virtual_host,) = manager["route_config"]["virtual_hosts"]
    plain = virtual_host["routes"][-1]
    special = copy.deepcopy(plain) | {"name": "special", "match": {"prefix": "/special/"}}
    named = copy.deepcopy(plain) | {"match": {"prefix": "/by-name/"}}
    named["typed_per_filter_config"] = {"idempotency": _naming("second")}
    virtual_host["routes"][:0] = [special, named]


def _naming(policy: str) -> dict[str, Any]:
    """A route's word about the policy for its requests."""
    return {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute",
        "overrides": {"grpc_initial_metadata": [{"key": "idempotency-policy", "value": policy}]},
    }


def _verifying_tokens() -> dict[str, Any]:
    providers = {
        issuer: {
            "issuer": issuer,
            "payload_in_metadata": f"payload-of-{issuer}",
            "local_jwks": {"inline_string": tokens.jwks()},
        }
        for issuer in ("issuer-a", "issuer-b")
    }
    either = {"requires_any": {"requirements": [{"provider_name": name} for name in providers]}}
    return {
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": providers,
            "rules": [{"match": {"prefix": "/jwt/"}, "requires": either}],
        },
    }


def _noting_tenants() -> dict[str, Any]:
    """Stands for ext_authz: notes who the caller is, by a header here."""
    noted = {"metadata_namespace": "tenants.by.header", "key": "id", "type": "STRING"}
    return {
        "name": "envoy.filters.http.header_to_metadata",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config",
            "request_rules": [{"header": "x-tenant", "on_header_present": noted, "remove": True}],
        },
    }


def _mutual_tls(authority: Authority) -> dict[str, Any]:
    own = authority.sign("listener", names="DNS:localhost,IP:127.0.0.1")
    pair = {
        "certificate_chain": {"filename": str(own.certificate)},
        "private_key": {"filename": str(own.key)},
    }
    trusted = {"trusted_ca": {"filename": str(authority.certificate)}}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "require_client_certificate": True,
            "common_tls_context": {"tls_certificates": [pair], "validation_context": trusted},
        },
    }


def at(prefix: str) -> str:
    """A target of its own."""
    return f"/{prefix}/{uuid.uuid4().hex}"


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def is_replay(response: httpx.Response) -> bool:
    """Whether it is the stored answer."""
    return bool(response.headers.get("idempotent-replayed") == "true")


def assert_problem(response: httpx.Response, status: int, type_: str) -> None:
    assert (response.status_code, response.json()["type"]) == (status, f"urn:idempotency:{type_}")


# --- Which requests


def test_a_policy_may_be_for_a_route_by_its_name(scene: Scene) -> None:
    assert_problem(scene.post(at("special")), 400, "key-missing")
    assert scene.post(at("other")).status_code == 201


def test_a_route_may_name_the_policy_for_its_requests(scene: Scene) -> None:
    refused = scene.post(at("by-name"))

    assert_problem(refused, 400, "key-missing")
    assert "x-second" in refused.json()["detail"]


def test_a_policy_that_is_off_protects_nothing(scene: Scene) -> None:
    target, key = at("off"), {"idempotency-key": "k"}

    assert not any(is_replay(scene.post(target, headers=key)) for _ in range(2))
    assert scene.upstream.times(target) == 2


# --- Where the key stands


def test_a_key_in_the_query_counts_once_and_not_twice(scene: Scene) -> None:
    target = at("query")

    answers = [scene.post(f"{target}?key=%6b1&b=2") for _ in range(2)]

    assert [is_replay(answer) for answer in answers] == [False, True]
    assert_problem(scene.post(f"{target}?key=k1&b=3"), 422, "key-reused")
    assert_problem(scene.post(f"{target}?key=k1&key=k2"), 400, "key-invalid")
    assert scene.post(f"{target}?b=2").status_code == 201


def call(key: object, **params: object) -> bytes:
    """A JSON-RPC call as MCP has them, with its key where MCP puts what is about a request."""
    document = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "pay",
        "params": {**params, "_meta": {"idempotencyKey": key}},
    }
    return httpx.Request("POST", "http://x", json=document).content


def test_a_key_in_the_body_counts_and_the_body_arrives_as_it_was_sent(scene: Scene) -> None:
    target, body = at("rpc"), call(uuid.uuid4().hex, amount=7)

    answers = [scene.post(target, content=body, headers=JSON) for _ in range(2)]

    assert [(answer.status_code, is_replay(answer)) for answer in answers] == [(201, False), (201, True)]
    assert scene.upstream.times(target) == 1
    assert scene.upstream.last(target).sha256 == sha256(body)
    assert scene.upstream.last(target).header("idempotency-attempt") == ["1"]


def test_a_body_without_the_key_passes_as_it_was_sent(scene: Scene) -> None:
    target, large = at("rpc"), b'{"data": "' + b"x" * 200_000 + b'"}'

    answers = [
        scene.post(target, content=large, headers={**JSON, "idempotency-attempt": "9"}) for _ in range(2)
    ]

    assert [answer.status_code for answer in answers] == [201, 201]
    assert scene.upstream.times(target) == 2
    assert scene.upstream.last(target).sha256 == sha256(large)
    assert scene.upstream.last(target).header("idempotency-attempt") == []


def test_a_body_that_cannot_be_read_is_refused_and_says_where(scene: Scene) -> None:
    refused = scene.post(at("rpc"), content=b'{"params": {,}}', headers=JSON)

    assert_problem(refused, 400, "body-invalid")
    assert "line 1, column 13" in refused.json()["detail"]
    assert_problem(scene.post(at("rpc-required"), content=b"{}", headers=JSON), 400, "key-missing")
    assert_problem(scene.post(at("rpc"), content=call(7), headers=JSON), 400, "key-invalid")


def test_equal_requests_without_any_key_are_one_where_it_is_derived(scene: Scene) -> None:
    target = at("derived")

    answers = [
        scene.post(target, content=body, headers=JSON)
        for body in (b'{"a": 1, "b": 2}', b'{"b":2,"a":1.0}', b'{"a": 1, "b": 3}')
    ]

    assert [is_replay(answer) for answer in answers] == [False, True, False]
    assert scene.upstream.times(target) == 2


def test_they_are_one_only_as_long_as_the_window_says(scene: Scene) -> None:
    target = at("brief")

    scene.post(target)
    assert is_replay(scene.post(target))
    wait_until(lambda: not is_replay(scene.post(target)), "the window is over", within_s=10)

    assert scene.upstream.times(target) == 2


# --- What counts as the same


def test_another_spelling_of_a_json_body_is_the_same_request(scene: Scene) -> None:
    target, headers = at("meaning"), {**JSON, "idempotency-key": "k"}

    first = scene.post(target, content=b'{"amount": 10, "sent_at": 1}', headers=headers)
    again = scene.post(target, content=b'{"sent_at":2,"amount":10.0}', headers=headers)
    other = scene.post(target, content=b'{"amount": 11}', headers=headers)

    assert (first.status_code, is_replay(again)) == (201, True)
    assert_problem(other, 422, "key-reused")
    assert scene.upstream.last(target).sha256 == sha256(b'{"amount": 10, "sent_at": 1}')


def test_malformed_json_never_reaches_the_upstream(scene: Scene) -> None:
    target = at("meaning")

    refused = scene.post(target, content=b"{'a': 1}", headers={**JSON, "idempotency-key": "k"})

    assert_problem(refused, 400, "body-invalid")
    assert scene.upstream.times(target) == 0
    assert scene.post(target, content=b"{}", headers={**JSON, "idempotency-key": "k"}).status_code == 201


def test_the_fields_of_a_form_and_a_query_may_come_in_any_order(scene: Scene) -> None:
    target, headers = at("form"), {**FORM, "idempotency-key": "k"}

    first = scene.post(f"{target}?x=1&y=2", content=b"a=1&b=2+3", headers=headers)
    again = scene.post(f"{target}?y=2&x=1", content=b"b=2%203&a=1", headers=headers)
    other = scene.post(f"{target}?y=2&x=1", content=b"b=2&a=1", headers=headers)

    assert (first.status_code, is_replay(again)) == (201, True)
    assert_problem(other, 422, "key-reused")


def test_only_what_the_policy_names_counts(scene: Scene) -> None:
    target, key = at("traced"), {"idempotency-key": "k"}

    first = scene.post(f"{target}?a=1", content=b"x", headers={**key, "x-amount": "1"})
    again = scene.post(f"{target}?a=2", content=b"y", headers={**key, "x-amount": "1"})
    other = scene.post(target, headers={**key, "x-amount": "2"})

    assert (first.status_code, is_replay(again)) == (201, True)
    assert_problem(other, 422, "key-reused")


# --- Whose key it is


def test_a_new_token_of_the_same_caller_replays_and_another_caller_executes(scene: Scene) -> None:
    target = at("jwt")

    def post(**claims: object) -> httpx.Response:
        credentials = {"authorization": f"Bearer {tokens.token(**claims)}", "idempotency-key": "k"}
        return scene.post(target, headers=credentials)

    answers = [
        post(sub="alice"),
        post(sub="alice", scope="more"),
        post(sub="bob"),
        post(sub="alice", iss="issuer-b"),
        post(sub=""),
        post(),
    ]

    assert [answer.status_code for answer in answers] == [201] * 6
    assert [is_replay(answer) for answer in answers] == [False, True, False, False, False, False]
    assert is_replay(post())


def test_a_token_that_nobody_verified_is_nobodys(scene: Scene) -> None:
    forged = tokens.token(sub="alice")[:-4] + "AAAA"

    refused = scene.post(at("jwt"), headers={"authorization": f"Bearer {forged}", "idempotency-key": "k"})

    assert refused.status_code == 401


def test_callers_are_told_apart_by_their_certificates(scene: Scene) -> None:
    target = at("peer")
    sign = scene.authority.sign
    peers = {
        "shop": sign("shop", names="URI:spiffe://example.org/shop,DNS:one.example"),
        "renewed": sign("renewed", names="URI:spiffe://example.org/shop,DNS:two.example"),
        "till": sign("till", names="URI:spiffe://example.org/till,DNS:one.example"),
        "named": sign("named", names="DNS:one.example"),
    }

    answers = {name: scene.post_as(peer, target, "k") for name, peer in peers.items()}

    assert {answer.status_code for answer in answers.values()} == {201}
    assert {name: is_replay(answer) for name, answer in answers.items()} == {
        "shop": False,
        "renewed": True,
        "till": False,
        "named": False,
    }
    anonymous = scene.post(target, headers={"idempotency-key": "k"})
    assert not is_replay(anonymous)


def test_callers_are_told_apart_by_what_a_filter_noted(scene: Scene) -> None:
    target = at("tenant")

    def post(**tenant: str) -> httpx.Response:
        return scene.post(target, headers={"idempotency-key": "k", **tenant})

    answers = [post(**{"x-tenant": "a"}), post(**{"x-tenant": "b"}), post(), post(**{"x-tenant": "a"})]

    assert [is_replay(answer) for answer in answers] == [False, False, False, True]


def test_hosts_have_keys_of_their_own(scene: Scene) -> None:
    target = at("hosts")

    answers = [
        scene.post(target, headers={"idempotency-key": "k", "host": host})
        for host in ("a.example", "b.example", "A.example")
    ]

    assert [is_replay(answer) for answer in answers] == [False, False, True]


# --- What clients are told


def test_answers_say_until_when_they_are_kept_and_where_to_read_about_it(scene: Scene) -> None:
    target, key = at("telling"), {"idempotency-key": "k"}

    answers = [scene.post(target, headers=key) for _ in range(2)]

    assert [is_replay(answer) for answer in answers] == [False, True]
    for answer in answers:
        expires = parsedate_to_datetime(answer.headers["idempotency-expires"])
        left = expires - datetime.now(UTC)
        assert timedelta(minutes=59) < left <= timedelta(hours=1, seconds=1)
        assert answer.headers["link"] == '<https://docs.example/keys>; rel="describedby"'


# --- Watched only


def test_in_shadow_everything_executes_and_what_would_have_been_is_counted(scene: Scene) -> None:
    target, key = at("shadow"), uuid.uuid4().hex
    before = {
        name: scene.counted("shadow", f"shadow_{name}")
        for name in ("executed", "replayed", "key_reused", "key_missing")
    }

    def post(content: bytes) -> httpx.Response:
        headers = {"idempotency-key": key, "idempotency-attempt": "7"}
        answer = scene.post(target, content=content, headers=headers)
        wait_until(lambda: _settled(scene), "the sidecar has seen it end", within_s=5)
        return answer

    answers = [post(b"a"), post(b"a"), post(b"b"), scene.post(target, content=b"a")]

    assert [answer.status_code for answer in answers] == [201] * 4
    assert not any(is_replay(answer) for answer in answers)
    assert scene.upstream.times(target) == 4
    assert scene.upstream.last(target).header("idempotency-attempt") == []
    counted = {name: scene.counted("shadow", f"shadow_{name}") - was for name, was in before.items()}
    assert counted == {"executed": 1, "replayed": 1, "key_reused": 1, "key_missing": 1}


def _settled(scene: Scene) -> bool:
    return sum(scene.fleet.metric("idempotency_in_flight").values()) == 0


# --- Which requests, by host, method and path


@pytest.mark.parametrize(
    ("host", "protected"),
    [
        ("api.example", True),
        ("API.example:8443", True),
        ("a.shop.example", True),
        ("a.b.shop.example", True),
        ("shop.example", False),
        ("other.example", False),
    ],
)
def test_a_policy_is_for_the_hosts_that_it_names(scene: Scene, host: str, *, protected: bool) -> None:
    target, headers = at("site"), {"idempotency-key": "k", "host": host}

    answers = [scene.post(target, headers=headers) for _ in range(2)]

    assert [is_replay(answer) for answer in answers] == [False, protected]


@pytest.mark.parametrize(
    ("method", "rest", "protected"),
    [("PUT", "item", True), ("POST", "item", False), ("PUT", "items", False), ("PUT", "a/item", False)],
)
def test_a_policy_is_for_its_methods_and_paths(
    scene: Scene, method: str, rest: str, *, protected: bool
) -> None:
    url = f"{scene.fleet.url}{at('read')}/{rest}"

    answers = [httpx.request(method, url, headers={"idempotency-key": "k"}) for _ in range(2)]

    assert [is_replay(answer) for answer in answers] == [False, protected]


# --- Limits


def test_a_key_may_be_as_long_as_the_policy_says_and_no_longer(scene: Scene) -> None:
    target = at("short")

    assert scene.post(target, headers={"idempotency-key": '"12345678"'}).status_code == 201
    refused = scene.post(target, headers={"idempotency-key": '"123456789"'})

    assert_problem(refused, 400, "key-invalid")
    assert scene.upstream.times(target) == 1


def test_a_key_is_remembered_for_the_ttl_and_then_executes_again(scene: Scene) -> None:
    target, key = at("forgetful"), {"idempotency-key": "k"}

    scene.post(target, headers=key)
    assert is_replay(scene.post(target, headers=key))
    wait_until(lambda: not is_replay(scene.post(target, headers=key)), "the ttl is over", within_s=10)

    assert scene.upstream.times(target) == 2


def test_a_body_that_has_to_be_understood_is_refused_beyond_the_limit(scene: Scene) -> None:
    target, headers = at("bounded"), {**JSON, "idempotency-key": "k"}

    fits = scene.post(target, content=b'"' + b"x" * 1022 + b'"', headers=headers)
    too_large = scene.post(target, content=b'"' + b"x" * 1023 + b'"', headers=headers)

    assert fits.status_code == 201
    assert_problem(too_large, 413, "body-too-large")
    assert scene.upstream.times(target) == 1


# --- Whose key it is, by parts of the request


def test_methods_have_keys_of_their_own(scene: Scene) -> None:
    target, headers = at("methods"), {"idempotency-key": uuid.uuid4().hex}

    answers = [
        httpx.request(method, f"{scene.fleet.url}{target}", headers=headers)
        for method in ("POST", "PUT", "PUT", "POST")
    ]

    assert [is_replay(answer) for answer in answers] == [False, False, True, True]


def test_without_the_path_in_its_scope_a_key_is_the_same_on_every_path(scene: Scene) -> None:
    headers = {"idempotency-key": uuid.uuid4().hex}

    first = scene.post(at("methods"), headers=headers)
    elsewhere = scene.post(at("methods"), headers=headers)

    assert first.status_code == 201
    assert_problem(elsewhere, 422, "key-reused")


def test_a_caller_whose_header_is_absent_is_not_the_one_whose_header_is_empty(scene: Scene) -> None:
    target = at("caller")

    def post(**caller: str) -> httpx.Response:
        return scene.post(target, headers={"idempotency-key": "k", **caller})

    answers = [
        post(),
        post(**{"x-caller": ""}),
        post(**{"x-caller": "a"}),
        post(**{"x-caller": "b"}),
        post(),
        post(**{"x-caller": ""}),
    ]

    assert {answer.status_code for answer in answers} == {201}
    assert [is_replay(answer) for answer in answers] == [False, False, False, False, True, True]
