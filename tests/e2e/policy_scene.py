"""The policies that are tried through a real Envoy, and what its operator adds to the rendered configuration.

Routes with names, filters that verify tokens and note tenants, a listener that verifies client certificates.
"""

import contextlib
import copy
import hashlib
import ssl
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.e2e import tokens
from tests.e2e.fleet import Fleet, running_fleet
from tests.stack.certificates import Authority, Signed
from tests.stack.ports import ports_in_a_row
from tests.stack.upstream import Upstream, running_upstream

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


@contextlib.contextmanager
def running_scene(store: str, directory: Path) -> Iterator[Scene]:
    """Run it while the context lasts; certificates go into the directory."""
    authority, mutual = Authority(directory), ports_in_a_row(1)

    def revise(bootstrap: dict[str, Any]) -> None:
        _revise(bootstrap, authority, str(mutual))

    with (
        running_upstream() as upstream,
        running_fleet(
            upstream, store, server={}, policies=POLICIES, revise=revise, wait_for_envoy=False
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
