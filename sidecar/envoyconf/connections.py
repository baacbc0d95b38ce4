"""The HTTP connection manager in front of the upstream: clients, paths, headers, one route.

It changes as little as it can, for the service should not notice that it is there: `Server` and
`x-request-id` are left as they are, Envoy's own response headers are not added, HTTP/1.1 trailers pass.
What it does change keeps the sidecar and the service of one mind about a request.
"""

from envoy_data_plane.envoy.config.core.v3 import Http1ProtocolOptions, Http2ProtocolOptions
from envoy_data_plane.envoy.config.route.v3 import (
    RetryPolicy,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerPathWithEscapedSlashesAction,
    HttpConnectionManagerServerHeaderTransformation,
    HttpFilter,
    RequestIdExtension,
)
from envoy_data_plane.envoy.extensions.request_id.uuid.v3 import UuidRequestIdConfig
from envoy_data_plane.google.protobuf import Any

from sidecar.envoyconf.filter import idempotency_filter
from sidecar.envoyconf.inputs import EnvoyInputs, Scheme, Upstream
from sidecar.envoyconf.typed import seconds
from sidecar.envoyconf.upstream_cluster import UPSTREAM_CLUSTER
from sidecar.exchange.machine import ATTEMPT
from sidecar.idempotency.policy import Mode, Policies

EscapedSlashes = HttpConnectionManagerPathWithEscapedSlashesAction

_STREAM_IDLE_S = 300
_REQUEST_HEADERS_S = 10
_STREAMS_PER_CONNECTION = 100
_STREAM_WINDOW = 65_536
_CONNECTION_WINDOW = 1_048_576


def connection_manager(inputs: EnvoyInputs, upstream: Upstream) -> HttpConnectionManager:
    """The connection manager with the idempotency filter next to the router.

    * No client may choose retries or hedges (`x-envoy-retry-on`), which run below the filter and execute a
      key more than once: with `use_remote_address`, Envoy takes such headers off unless the client is
      internal, and nobody is while `internal_address_config` is unset (an *empty* one makes everybody so).
    * A client's `x-request-id` is kept, so that both sides of a complaint know the same id; where there is
      none, one is made.
    * No upgrades: what they carry cannot be processed. Envoy refuses them with 403.
    * A stream that stays silent for five minutes is given up. Nothing else limits how long a call takes.
    """
    return HttpConnectionManager(
        stat_prefix="ingress",
        route_config=_routes(upstream),
        http_filters=[idempotency_filter(inputs), _router()],
        http_protocol_options=Http1ProtocolOptions(enable_trailers=True),
        http2_protocol_options=_http2(),
        server_header_transformation=HttpConnectionManagerServerHeaderTransformation.PASS_THROUGH,
        stream_idle_timeout=seconds(_STREAM_IDLE_S),
        request_headers_timeout=seconds(_REQUEST_HEADERS_S),
        use_remote_address=True,
        preserve_external_request_id=True,
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action=escaped_slashes(inputs.policies),
        request_id_extension=_request_id(),
    )


def escaped_slashes(policies: Policies) -> EscapedSlashes:
    """What becomes of `%2F` and its kin in a path.

    Many services decode a path before they route it, so `/v1%2Fpayments` reaches their payments although no
    pattern of the sidecar's covers it: where an enforcing policy selects by path, such a request is refused
    (400). Where none does, no spelling evades a policy, and the path passes as it is.
    """
    by_path = any(policy.match.paths and policy.mode is not Mode.OFF for policy in policies.policies)
    return EscapedSlashes.REJECT_REQUEST if by_path else EscapedSlashes.KEEP_UNCHANGED


def _http2() -> Http2ProtocolOptions:
    """Limits for clients that are not trusted, after Envoy's advice for an edge."""
    return Http2ProtocolOptions(
        max_concurrent_streams=_STREAMS_PER_CONNECTION,
        initial_stream_window_size=_STREAM_WINDOW,
        initial_connection_window_size=_CONNECTION_WINDOW,
    )


def _request_id() -> RequestIdExtension:
    """Without tracing there is no reason to write into an id, which Envoy does by default."""
    config = UuidRequestIdConfig(pack_trace_reason=False)
    return RequestIdExtension(typed_config=Any.pack(config))


def _router() -> HttpFilter:
    return HttpFilter(
        name="envoy.filters.http.router", typed_config=Any.pack(Router(suppress_envoy_headers=True))
    )


def _routes(upstream: Upstream) -> RouteConfiguration:
    """One route for everything.

    `idempotency_attempt` is taken off: CGI and WSGI cannot tell it from `idempotency-attempt`, the sidecar's.
    """
    host = VirtualHost(name="upstream", domains=["*"], routes=[_route(upstream)])
    return RouteConfiguration(
        name="ingress", virtual_hosts=[host], request_headers_to_remove=[ATTEMPT.replace("-", "_")]
    )


def _route(upstream: Upstream) -> Route:
    """To the upstream, without a limit on the whole call: a timeout of Envoy's makes an outcome unknown.

    Retries are for `refused-stream` only, where HTTP/2 itself says that the request was not processed. Not
    for `connect-failure`: after a retry Envoy reports the *last* attempt only, so the sidecar can no longer
    tell whether an earlier one was sent, and a release that was certain (refused once, never sent) turns into
    an outcome that nobody knows. Never after a reset, a status or a timeout, and no hedging: those execute
    twice.

    A TLS upstream is told the name it is called by, as certificates and virtual hosts go by it; others get
    the client's own `Host`.
    """
    tls = upstream.scheme is Scheme.HTTPS
    action = RouteAction(
        cluster=UPSTREAM_CLUSTER,
        host_rewrite_literal=upstream.authority if tls else None,
        append_x_forwarded_host=tls,
        timeout=seconds(0),
        retry_policy=RetryPolicy(retry_on="refused-stream", num_retries=1),
    )
    return Route(name="everything", match=RouteMatch(prefix="/"), route=action)
