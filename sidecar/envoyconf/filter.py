"""The HTTP filter: ext_proc towards the sidecar, behind the matcher that skips what needs none."""

from dataclasses import replace

from envoy_data_plane.envoy.config.core.v3 import (
    BackoffStrategy,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    RetryPolicy,
    RetryPolicyRetryHostPredicate,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.config.route.v3 import FilterConfig
from envoy_data_plane.envoy.extensions.common.matching.v3 import (
    ExtensionWithMatcher,
    ExtensionWithMatcherPerRoute,
)
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import (
    ExternalProcessor,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 import PreviousHostsPredicate
from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode
from envoy_data_plane.google.protobuf import Any

from sidecar.envoyconf.inputs import EnvoyInputs
from sidecar.envoyconf.lengths import lengths_kept
from sidecar.envoyconf.matcher import skip_matcher
from sidecar.envoyconf.modes import processing_mode
from sidecar.envoyconf.origin_listener import origin_listener
from sidecar.envoyconf.sidecar_cluster import SIDECAR_CLUSTER, sidecar_cluster
from sidecar.envoyconf.timing import max_message_timeout_ms, message_timeout_ms, stream_idle_ms
from sidecar.envoyconf.typed import Plain, milliseconds, plain, to_yaml
from sidecar.envoyconf.version import NEWEST, EnvoyVersion
from sidecar.exchange.core import ATTEMPT
from sidecar.idempotency.policy import Mode

_FILTER = "idempotency"
_RESPONSE_ATTRIBUTES = [
    "response.code_details",
    "response.flags",
    "upstream.address",
    "upstream.request_attempt_count",
]
_HOST_SELECTIONS = 64
"""Draws for a retry to find a worker that was not tried yet.

LEAST_REQUEST draws two workers at random and takes the one with fewer requests. A dead one has none: of two
workers it is taken three times in four, and with a few draws a retry often ends where it began. After 64, one
in a hundred million does.
"""
_BACK_OFF_MS = 5  # at most, before the other worker is tried; Envoy's default is 1 s
_HEADER = """
The idempotency filter and its cluster, for Envoy {version}, to be pasted into a configuration.
Made by: idempotency-sidecar envoy-config --format filter{option}. Render it again when the policies change:
the matcher lets requests that need no sidecar pass without a stream, and has to know which those are.

http_filters: put {entries} after authentication, right before envoy.filters.http.router.
clusters:     put the entry among static_resources.clusters; its endpoints are the sidecar's workers.

What the rest of the configuration has to keep, for a key to be executed at most once:
- Routes with keys retry on nothing but refused-stream, and never hedge. What Envoy repeats below the
  filter is one exchange to the sidecar and several executions to the service; a retried connect failure
  hides whether an earlier attempt was sent.
- Clients do not choose retries: use_remote_address is true and internal_address_config unset. What an
  internal client writes in x-envoy-retry-on is obeyed, and an empty internal_address_config makes
  every client internal.
- normalize_path and merge_slashes on, and path_with_escaped_slashes_action REJECT_REQUEST where policies
  select by path: sidecar and service have to mean the same path.
- The runtime flag envoy.reloadable_features.ext_proc_graceful_grpc_close is true, so that the sidecar
  sees exchanges end rather than break off.
- failure_mode_allow stays at its default, false: without the sidecar, keyed requests are answered 503.
- stream_idle_timeout of the listener is at least {idle}, the longest that a policy lets a request be silent.
"""
_ORIGIN_HEADER = """
listeners:    put the entry among static_resources.listeners. It is the origin listener, where the sidecar
              makes the calls of detached policies. Give it the route_config (or rds) of your own listener:
              the same routes to the same clusters. It must not have the idempotency filter, nor one that
              was passed already and counts or refuses a request the second time, such as rate limits.

What the origin listener has to keep:
- Nobody but the sidecar reaches it, for what arrives there executes: its address is a unix socket (mode 0600;
  Envoy and the sidecar run as one user, or change it) or one of the loopback. Keep it out of every network.
- The header_mutation filter stays first. By its header the sidecar knows whether an answer is the upstream's
  or Envoy's own, and whether the request may have been sent; without it, every 5xx is an outcome unknown.
- use_remote_address stays false: x-forwarded-for names the client already.
"""


def render_filter(inputs: EnvoyInputs) -> str:
    """The filter, the sidecar's cluster and, where a policy needs it, the origin listener, as YAML.

    Each stands under the key where it belongs.
    """
    entries: dict[str, list[Plain]] = {
        "http_filters": [plain(each) for each in idempotency_filters(inputs)],
        "clusters": [plain(sidecar_cluster(inputs.endpoint_addresses, inputs.sidecar_tls))],
    }
    header = _HEADER.format(
        version=inputs.envoy_version,
        option=version_option(inputs.envoy_version),
        entries="the entry" if len(entries["http_filters"]) == 1 else "all entries, in this order,",
        idle=f"{stream_idle_ms(inputs.policies) // 1000}s",
    )
    if inputs.origin_address is not None:
        header += _ORIGIN_HEADER
        theirs = replace(inputs, upstream=None)  # its routes are those of a configuration that we do not know
        entries["listeners"] = [plain(origin_listener(theirs, inputs.origin_address))]
    return to_yaml(header, entries)


def version_option(version: EnvoyVersion) -> str:
    """How the command line asks for this version, as it follows other options; nothing for the newest."""
    return "" if version == NEWEST else f" --envoy-version {version}"


def idempotency_filters(inputs: EnvoyInputs, *, disabled: bool = False) -> list[HttpFilter]:
    """The entries for `http_filters`.

    Where the one of the sidecar is `disabled`, routes enable it (see `enabled_by_header`).
    """
    own = _idempotency_filter(inputs, disabled=disabled)
    return [own] if inputs.envoy_version.keeps_lengths else lengths_kept(own)


def _idempotency_filter(inputs: EnvoyInputs, *, disabled: bool) -> HttpFilter:
    inner = TypedExtensionConfig(name="envoy.filters.http.ext_proc", typed_config=Any.pack(_ext_proc(inputs)))
    matched = ExtensionWithMatcher(extension_config=inner, xds_matcher=skip_matcher(inputs.policies))
    return HttpFilter(name=_FILTER, typed_config=Any.pack(matched), disabled=disabled)


def enabled_by_header(inputs: EnvoyInputs) -> dict[str, dict[str, Any]]:
    """By the name of a header, what routes tell filters of requests that have it; empty: no header decides.

    To have the filter ask its matcher about every request costs Envoy some microseconds for each, most of
    them for making the filter. Where no policy demands a key, a request without any of these headers needs
    no sidecar, and the route it takes does without the filter. With one of them, the matcher decides.
    """
    enforcing = [policy for policy in inputs.policies.policies if policy.mode is not Mode.OFF]
    if any(policy.key.required for policy in enforcing):
        return {}
    matcher = ExtensionWithMatcherPerRoute(xds_matcher=skip_matcher(inputs.policies))
    told = {_FILTER: Any.pack(FilterConfig(config=Any.pack(matcher)))}
    return dict.fromkeys([*(policy.key.name for policy in enforcing), ATTEMPT], told)


def _ext_proc(inputs: EnvoyInputs) -> ExternalProcessor:
    """The processor, in the modes of `modes.processing_mode`.

    An exchange without a decision fails with 503, it never passes undecided. The default
    mutation rules suffice: the sidecar sets and removes headers of its own, none of the system's.
    """
    return ExternalProcessor(
        grpc_service=_grpc_service(len(inputs.endpoints)),
        failure_mode_allow=False,
        processing_mode=processing_mode(inputs.envoy_version),
        response_attributes=_RESPONSE_ATTRIBUTES,
        message_timeout=milliseconds(message_timeout_ms(inputs.store_timeout_ms)),
        stat_prefix="idempotency",
        max_message_timeout=milliseconds(max_message_timeout_ms(inputs.policies, inputs.store_timeout_ms)),
        allow_mode_override=inputs.envoy_version.reads_held_bodies,
        status_on_error=HttpStatus(code=StatusCode.ServiceUnavailable),
        allow_content_length_header=inputs.envoy_version.keeps_lengths,
    )


def _grpc_service(workers: int) -> GrpcService:
    """The gRPC client; with several workers, a stream that ends before its first answer is opened at another.

    `reset`: the connection failed or was lost, or HTTP/2 says that a draining worker did not take the stream;
    `cancelled`: gRPC's own library says the latter so. Before the first answer nothing is forwarded, and the
    new stream has to claim the key like any other. If the lost one had claimed it already (and perhaps
    executed it, where that is detached), the new one finds the claim and is refused as a duplicate: nothing
    executes twice.
    """
    client = GrpcServiceEnvoyGrpc(cluster_name=SIDECAR_CLUSTER)
    if workers == 1:
        return GrpcService(envoy_grpc=client)
    elsewhere = RetryPolicyRetryHostPredicate(
        name="envoy.retry_host_predicates.previous_hosts", typed_config=Any.pack(PreviousHostsPredicate())
    )
    again = RetryPolicy(
        retry_on="reset,cancelled",
        num_retries=1,
        retry_back_off=BackoffStrategy(base_interval=milliseconds(_BACK_OFF_MS)),
        retry_host_predicate=[elsewhere],
        host_selection_retry_max_attempts=_HOST_SELECTIONS,
    )
    return GrpcService(envoy_grpc=client, retry_policy=again)
