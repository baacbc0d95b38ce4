"""What is rendered for meshes: in the form that their schemas want, and explicit about what counts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from cloudcoil.models.istio.networking.v1alpha3 import EnvoyFilter
from pydantic import ValidationError

from sidecar.envoyconf.envoy_gateway import envoy_gateway_resources, render_envoy_gateway
from sidecar.envoyconf.examples import example_inputs, render_mesh_examples
from sidecar.envoyconf.inputs import EnvoyInputs
from sidecar.envoyconf.istio import envoy_filter, render_istio
from sidecar.envoyconf.mesh import GRACEFUL_CLOSE
from sidecar.envoyconf.placement import Placement
from sidecar.envoyconf.version import EnvoyVersion
from sidecar.idempotency.patterns import PathPattern
from sidecar.idempotency.policy import Execution, Match, Mode, Policies, Policy
from sidecar.idempotency.scope import ScopePart
from tests.deploy import envoy_gateway_schema as crd

PLAIN = Policy("plain", match=Match(paths=(PathPattern("/v1/**"),)))
TOLD = Policy("told", match=Match(route="r"), scope=(ScopePart("peer"), ScopePart("jwt", "sub")))
WATCHED = replace(PLAIN, mode=Mode.SHADOW)
HERE = Placement()
V36, V37, V38, V39, V40 = EnvoyVersion.SUPPORTED


def inputs(*policies: Policy, version: EnvoyVersion = V40, **more: Any) -> EnvoyInputs:
    defaults: dict[str, Any] = {"endpoints": ("idempotency.shop.svc:9000",), "envoy_version": version}
    return EnvoyInputs(Policies(policies or (PLAIN,)), **(defaults | more))


def istio(*policies: Policy, placement: Placement = HERE, version: EnvoyVersion = V40) -> Any:
    return yaml.safe_load(render_istio(inputs(*policies, version=version), placement))


def resources(given: EnvoyInputs, placement: Placement = HERE) -> list[Any]:
    return [dict(each) for each in envoy_gateway_resources(given, placement)]


def gateway(*policies: Policy, placement: Placement = HERE, version: EnvoyVersion = V40) -> list[Any]:
    return list(yaml.safe_load_all(render_envoy_gateway(inputs(*policies, version=version), placement)))


def patches(resource: Any, apply_to: str) -> list[Any]:
    return [each for each in resource["spec"]["configPatches"] if each["applyTo"] == apply_to]


def processor(config: Any) -> Any:
    """The ext_proc configuration behind the matcher."""
    return config["extension_config"]["typed_config"]


# --- The committed examples


@pytest.mark.parametrize("name", render_mesh_examples())
def test_the_examples_are_what_the_renderer_makes_today(name: str) -> None:
    committed = Path(__file__).parents[2] / "deploy" / name

    assert committed.read_text(encoding="utf-8") == render_mesh_examples()[name], "run: make docs"


@pytest.mark.parametrize("name", render_mesh_examples())
def test_the_examples_say_that_no_cluster_has_run_them(name: str) -> None:
    comment = render_mesh_examples()[name].replace("\n#", "")

    assert "it was not run in a cluster" in comment


# --- Istio


@pytest.mark.parametrize("version", EnvoyVersion.SUPPORTED, ids=str)
@pytest.mark.parametrize("placement", [Placement(), Placement(workload={"app": "shop"}, at_gateway=True)])
@pytest.mark.parametrize("policy", [PLAIN, TOLD, WATCHED], ids=lambda policy: policy.name)
def test_an_envoyfilter_has_the_form_that_istio_s_schema_wants(
    version: EnvoyVersion, placement: Placement, policy: Policy
) -> None:
    resource = istio(policy, placement=placement, version=version)

    read = EnvoyFilter.model_validate(resource)
    written = read.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
    assert written == resource, "a field that the schema does not have would be lost"


def test_the_schema_refuses_what_istio_would() -> None:
    wrong = istio()
    wrong["spec"]["configPatches"][0]["patch"]["operation"] = "PREPEND"

    with pytest.raises(ValidationError, match="INSERT_BEFORE"):
        EnvoyFilter.model_validate(wrong)


@pytest.mark.parametrize(("at_gateway", "context"), [(False, "SIDECAR_INBOUND"), (True, "GATEWAY")])
def test_the_filter_goes_right_before_the_router_of_what_comes_in(at_gateway: bool, context: str) -> None:
    resource = istio(placement=Placement(at_gateway=at_gateway))

    (each,) = patches(resource, "HTTP_FILTER")
    assert each["match"]["context"] == context
    assert each["patch"]["operation"] == "INSERT_BEFORE"
    within = each["match"]["listener"]["filterChain"]["filter"]
    assert within["name"] == "envoy.filters.network.http_connection_manager"
    assert within["subFilter"] == {"name": "envoy.filters.http.router"}
    assert patches(resource, "CLUSTER")[0]["match"] == {"context": context}


def test_the_workload_is_chosen_by_its_labels_or_is_everything_there() -> None:
    chosen = istio(placement=Placement("idem", "shop", {"app": "payments", "tier": "api"}))

    assert chosen["metadata"] == {"name": "idem", "namespace": "shop"}
    assert chosen["spec"]["workloadSelector"] == {"labels": {"app": "payments", "tier": "api"}}
    assert "workloadSelector" not in istio()["spec"]


def test_an_older_envoy_gets_its_filters_in_their_order() -> None:
    names = [each["patch"]["value"]["name"] for each in patches(istio(version=V36), "HTTP_FILTER")]

    assert len(names) == 5
    assert names[2] == "idempotency"


@pytest.mark.parametrize(("policy", "open_"), [(PLAIN, False), (WATCHED, True)])
def test_istio_is_told_how_to_fail_and_how_long_to_wait(policy: Policy, open_: bool) -> None:
    (each,) = patches(istio(policy), "HTTP_FILTER")
    asked = processor(each["patch"]["value"]["typed_config"])

    assert asked["failure_mode_allow"] is open_
    assert asked["message_timeout"] == "1s"
    assert asked["max_message_timeout"] == "60s"
    assert asked["status_on_error"] == {"code": "ServiceUnavailable"}


def test_paths_are_guarded_where_a_policy_that_enforces_selects_by_them() -> None:
    (each,) = patches(istio(PLAIN), "NETWORK_FILTER")
    assert each["patch"]["value"]["typed_config"]["path_with_escaped_slashes_action"] == "REJECT_REQUEST"
    assert each["patch"]["value"]["typed_config"]["merge_slashes"] is True

    assert patches(istio(WATCHED), "NETWORK_FILTER") == []
    assert "escaped slash" not in render_istio(inputs(WATCHED), Placement())


def test_a_proxy_s_bootstrap_gets_the_flag() -> None:
    (each,) = patches(istio(), "BOOTSTRAP")

    (layer,) = each["patch"]["value"]["layered_runtime"]["layers"]
    assert layer["static_layer"] == {GRACEFUL_CLOSE: True}


def test_the_comment_speaks_of_retries_where_they_are() -> None:
    assert "The clients' proxies may retry" in render_istio(inputs(), Placement())
    assert "retries: {attempts: 0}" in render_istio(inputs(), Placement(at_gateway=True))


# --- Envoy Gateway


@pytest.mark.parametrize("version", [V38, V39, V40], ids=str)
@pytest.mark.parametrize("policy", [PLAIN, TOLD, WATCHED], ids=lambda policy: policy.name)
def test_the_resources_have_the_form_that_envoy_gateway_s_crds_want(
    version: EnvoyVersion, policy: Policy
) -> None:
    extension, patch, proxy = gateway(policy, version=version)

    crd.EnvoyExtensionPolicy.model_validate(extension)
    crd.EnvoyPatchPolicy.model_validate(patch)
    crd.EnvoyProxy.model_validate(proxy)


@pytest.mark.parametrize(
    ("field", "value"),
    [("failOpen", "no"), ("messageTimeout", "100000ms"), ("message_timeout", "1s"), ("backendRefs", [])],
)
def test_the_schema_refuses_what_envoy_gateway_would(field: str, value: object) -> None:
    extension = gateway()[0]
    extension["spec"]["extProc"][0][field] = value

    with pytest.raises(ValidationError, match=field):
        crd.EnvoyExtensionPolicy.model_validate(extension)


def test_the_extension_fails_closed_and_waits_for_the_store() -> None:
    (asked,) = gateway()[0]["spec"]["extProc"]
    assert (asked["failOpen"], asked["messageTimeout"]) == (False, "1s")
    assert gateway(WATCHED)[0]["spec"]["extProc"][0]["failOpen"] is True

    slow = inputs(store_timeout_ms=40_100)
    assert resources(slow)[0]["spec"]["extProc"][0]["messageTimeout"] == "80s700ms"


def test_the_extension_asks_for_what_the_policies_need() -> None:
    (asked,) = gateway(TOLD)[0]["spec"]["extProc"]

    assert asked["processingMode"]["request"]["attributes"][0] == "xds.route_name"
    assert len(asked["processingMode"]["request"]["attributes"]) == 4
    assert asked["metadata"] == {"accessibleNamespaces": ["envoy.filters.http.jwt_authn"]}
    assert gateway(PLAIN)[0]["spec"]["extProc"][0]["processingMode"] == {
        "request": {},
        "allowModeOverride": True,
    }


def test_an_older_envoy_hands_over_bodies_in_full_duplex() -> None:
    mode = gateway(version=V39)[0]["spec"]["extProc"][0]["processingMode"]

    assert mode == {"request": {"body": "FullDuplexStreamed"}, "response": {"body": "FullDuplexStreamed"}}


def test_the_patch_replaces_the_configuration_of_the_filter_that_the_extension_makes() -> None:
    placement = Placement("idem", "shop", gateway="edge", listener="https")
    extension, patch, _ = gateway(placement=placement)
    cluster, listener = patch["spec"]["jsonPatches"]

    (target,) = extension["spec"]["targetRefs"]
    assert (target["name"], target["sectionName"]) == ("edge", "https")
    assert patch["spec"]["targetRef"]["name"] == "edge"
    assert (cluster["name"], cluster["operation"]["path"]) == ("idempotency_sidecar", "")
    assert listener["name"] == "shop/edge/https"
    assert "ext_proc/envoyextensionpolicy/shop/idem/extproc/0'" in listener["operation"]["jsonPath"]
    asked = processor(listener["operation"]["value"])
    assert asked["failure_mode_allow"] is False
    assert asked["allow_content_length_header"] is True
    assert asked["grpc_service"]["envoy_grpc"] == {
        "cluster_name": "idempotency_sidecar",
        "skip_envoy_headers": True,
    }
    assert "timeout" not in asked["grpc_service"], "an exchange may take as long as its service"


@pytest.mark.parametrize(
    ("host", "reference"),
    [
        ("idempotency", {"name": "idempotency", "port": 9000}),
        ("idempotency.shop", {"name": "idempotency", "port": 9000}),
        ("idempotency.infra.svc", {"name": "idempotency", "namespace": "infra", "port": 9000}),
        ("i.infra.svc.cluster.local", {"name": "i", "namespace": "infra", "port": 9000}),
    ],
)
def test_the_sidecar_is_named_as_a_service(host: str, reference: dict[str, Any]) -> None:
    extension, *_ = resources(inputs(endpoints=(f"{host}:9000",)), Placement(namespace="shop"))

    assert extension["spec"]["extProc"][0]["backendRefs"] == [reference]


@pytest.mark.parametrize("endpoint", ["unix:/run/a.sock", "127.0.0.1:9000", "[::1]:9000"])
def test_what_is_no_service_is_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match=r"allowed: --sidecar-host NAME\.NAMESPACE\.svc"):
        resources(inputs(endpoints=(endpoint,)))


@pytest.mark.parametrize("version", [V36, V37], ids=str)
def test_an_envoy_that_needs_filters_around_it_is_refused(version: EnvoyVersion) -> None:
    with pytest.raises(ValueError, match=r"allowed: --envoy-version 1\.38 or newer"):
        gateway(version=version)


# --- Both


def test_a_detached_policy_calls_the_service_itself_and_gets_no_listener() -> None:
    detached = replace(PLAIN, execution=Execution.DETACHED)
    direct = inputs(detached, origin="http://127.0.0.1:3000")

    assert "idempotency_origin" not in str(envoy_filter(direct, Placement()))
    socket = inputs(detached, origin="unix:///run/origin.sock")
    for render in (render_istio, render_envoy_gateway):
        with pytest.raises(ValueError, match="allowed: http://HOST:PORT of the service itself"):
            render(socket, Placement())


def test_every_format_carries_the_same_filter() -> None:
    committed = example_inputs()
    one = replace(committed, endpoints=("a.b:9000",), origin="http://127.0.0.1:3000")
    (inserted,) = patches(envoy_filter(one, Placement()), "HTTP_FILTER")
    replaced = resources(one)[1]["spec"]["jsonPatches"][1]["operation"]["value"]

    assert inserted["patch"]["value"]["typed_config"] == replaced
