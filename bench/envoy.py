"""The Envoys that are compared: the one that `up` starts, without the filter, and with a no-op processor."""

import asyncio
import contextlib
import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from sidecar.config.loading import Settings
from sidecar.envoyconf.bootstrap import render_bootstrap
from sidecar.envoyconf.inputs import EnvoyInputs, Upstream
from sidecar.envoyconf.sidecar_cluster import SIDECAR_CLUSTER
from sidecar.supervision.envoy import envoy_spec
from sidecar.supervision.ports import Address
from sidecar.supervision.process import ChildSpec

Bootstrap: TypeAlias = dict[str, Any]  # Envoy's configuration as YAML holds it

_ACTIVE = f"cluster.{SIDECAR_CLUSTER}.upstream_rq_active".encode()
_BUFFERED = {
    "name": "envoy.filters.http.ext_proc",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
        "grpc_service": {"envoy_grpc": {"cluster_name": SIDECAR_CLUSTER}},
        "processing_mode": {
            "request_header_mode": "SEND",
            "response_header_mode": "SEND",
            "request_body_mode": "BUFFERED",
            "response_body_mode": "BUFFERED",
            "request_trailer_mode": "SKIP",
            "response_trailer_mode": "SKIP",
        },
        "message_timeout": "10s",
    },
}
"""Four messages a request: the two heads and the two whole bodies."""


def guarded(settings: Settings, endpoints: tuple[str, ...], listen: Address, upstream: str) -> Bootstrap:
    """The Envoy that `up` renders for a sidecar of these settings, which listens at `endpoints`."""
    inputs = EnvoyInputs(
        policies=settings.policies,
        endpoints=endpoints,
        store_timeout_ms=settings.store.timeout_ms,
        listen=str(listen),
        upstream=Upstream.parse(upstream),
        origin=settings.origin.url,
    )
    bootstrap: Bootstrap = yaml.safe_load(render_bootstrap(inputs))
    return bootstrap


def alone(bootstrap: Bootstrap) -> Bootstrap:
    """The same Envoy without the filter: what requests cost anyway."""
    changed = copy.deepcopy(bootstrap)
    filters = _filters(changed)
    filters[:] = filters[1:]
    clusters = changed["static_resources"]["clusters"]
    clusters[:] = [cluster for cluster in clusters if cluster["name"] != SIDECAR_CLUSTER]
    return changed


def processed(bootstrap: Bootstrap) -> Bootstrap:
    """The same Envoy with ext_proc alone, everything buffered, to whatever processor is at the endpoint."""
    changed = copy.deepcopy(bootstrap)
    _filters(changed)[0] = _BUFFERED
    return changed


def admin_of(file: Path) -> Path:
    """The socket of the admin interface of the Envoy whose configuration is this file."""
    return file.with_suffix(".admin")


async def active_streams(admin: Path) -> int:
    """How many exchanges this Envoy has open with its processor at the moment.

    Asked of Envoy, not of the sidecar's metrics: to render those takes CPU of what is measured.
    """
    reader, writer = await asyncio.open_unix_connection(admin)
    with contextlib.closing(writer):
        writer.write(
            b"GET /stats?filter=" + _ACTIVE + b" HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n"
        )
        text = (await reader.read()).decode()
    return int(text.rpartition(f"{_ACTIVE.decode()}: ")[2].split()[0])


def _filters(bootstrap: Bootstrap) -> list[Any]:
    """The HTTP filters of the listener for clients; the idempotency filter is the first."""
    manager = bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    filters: list[Any] = manager["typed_config"]["http_filters"]
    return filters


def spec(program: Path, bootstrap: Bootstrap, file: Path, listen: Address) -> ChildSpec:
    """How to run it: with one worker thread, and stopped without a drain.

    The CPU of several threads would be that of threads in each other's way.
    """
    admin = admin_of(file)
    complete = {**bootstrap, "admin": {"address": {"pipe": {"path": str(admin)}}}}
    file.write_text(yaml.safe_dump(complete), encoding="utf-8")
    usual = envoy_spec(program, file, admin, listen)
    argv = list(usual.argv)
    argv[argv.index("--concurrency") + 1] = "1"
    return replace(usual, name=file.stem, argv=tuple(argv), before_stop=None)
