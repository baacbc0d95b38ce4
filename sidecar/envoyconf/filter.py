"""The HTTP filter: ext_proc towards the sidecar, behind the matcher that skips what needs none."""

from dataclasses import replace

from envoy_data_plane.envoy.config.core.v3 import TypedExtensionConfig
from envoy_data_plane.envoy.config.route.v3 import FilterConfig
from envoy_data_plane.envoy.extensions.common.matching.v3 import (
    ExtensionWithMatcher,
    ExtensionWithMatcherPerRoute,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.google.protobuf import Any

from sidecar.envoyconf.inputs import EnvoyInputs
from sidecar.envoyconf.lengths import lengths_kept
from sidecar.envoyconf.matcher import skip_matcher
from sidecar.envoyconf.origin_listener import origin_listener
from sidecar.envoyconf.processor import fails_open, processor
from sidecar.envoyconf.sidecar_cluster import sidecar_cluster
from sidecar.envoyconf.timing import stream_idle_ms
from sidecar.envoyconf.typed import Plain, plain, to_yaml
from sidecar.envoyconf.version import NEWEST, EnvoyVersion
from sidecar.exchange.core import ATTEMPT
from sidecar.idempotency.policy import KeyPlace, Mode
from sidecar.idempotency.scope import ScopePart

FILTER = "idempotency"
"""What the filter is called: the key of what a route tells it."""
_BY_TOKEN = ScopePart.header("authorization")

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
{always}
- {failure}
- stream_idle_timeout of the listener is at least {idle}, the longest that a policy lets a request be silent.
"""
_ATTEMPT = """\
- The request header idempotency_attempt is removed (request_headers_to_remove): CGI and WSGI cannot tell a
  client's from idempotency-attempt, the sidecar's own."""
_AUTHORIZATION = """\
- Authorization arrives at the filter, for callers are told apart by it. Envoy's jwt_authn takes it off unless
  it has forward: true (in Istio, forwardOriginalToken: true), and then all callers share one scope."""
_CLOSED = """\
failure_mode_allow stays false, its default: without the sidecar, keyed requests are answered 503."""
_OPEN = """\
failure_mode_allow is true: every policy here only watches (mode: shadow), so where the sidecar is down,
  requests have to pass as they would without it. Render this again, and use it, before a policy enforces:
  until then a sidecar that is down would let requests pass that should have been claimed."""
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
        always=what_has_to_arrive(inputs),
        failure=failure_words(inputs),
    )
    if inputs.origin_address is not None:
        header += _ORIGIN_HEADER
        theirs = replace(inputs, upstream=None)  # its routes are those of a configuration that we do not know
        entries["listeners"] = [plain(origin_listener(theirs, inputs.origin_address))]
    return to_yaml(header, entries)


def failure_words(inputs: EnvoyInputs) -> str:
    """What becomes of requests where the sidecar is down, and why, as it stands in a comment."""
    return _OPEN if fails_open(inputs) else _CLOSED


def what_has_to_arrive(inputs: EnvoyInputs) -> str:
    """Which header fields have to be there, or not, as it stands in a comment: a line or more."""
    active = [policy for policy in inputs.policies.policies if policy.mode is not Mode.OFF]
    by_token = any(_BY_TOKEN in policy.scope for policy in active)
    return f"{_AUTHORIZATION}\n{_ATTEMPT}" if by_token else _ATTEMPT


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
    inner = TypedExtensionConfig(name="envoy.filters.http.ext_proc", typed_config=Any.pack(processor(inputs)))
    matched = ExtensionWithMatcher(extension_config=inner, xds_matcher=skip_matcher(inputs.policies))
    return HttpFilter(name=FILTER, typed_config=Any.pack(matched), disabled=disabled)


def enabled_by_header(inputs: EnvoyInputs) -> dict[str, dict[str, Any]]:
    """By the name of a header, what routes tell filters of requests that have it; empty: no header decides.

    To have the filter ask its matcher about every request costs Envoy some microseconds for each, most of
    them for making the filter. Where every key is in a header and none is demanded, a request without any of
    these headers needs no sidecar, and the route it takes does without the filter. With one of them, the
    matcher decides.
    """
    active = [policy for policy in inputs.policies.policies if policy.mode is not Mode.OFF]
    if any(policy.key.required or policy.key.place is not KeyPlace.HEADER for policy in active):
        return {}
    matcher = ExtensionWithMatcherPerRoute(xds_matcher=skip_matcher(inputs.policies))
    told = {FILTER: Any.pack(FilterConfig(config=Any.pack(matcher)))}
    return dict.fromkeys([*(policy.key.name for policy in active), ATTEMPT], told)
