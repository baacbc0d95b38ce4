"""What both listeners have in common: the routes to the upstream, and the router at their end."""

from collections.abc import Mapping
from types import MappingProxyType

from envoy_data_plane.envoy.config.route.v3 import (
    HeaderMatcher,
    RetryPolicy,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpFilter,
    RequestIdExtension,
)
from envoy_data_plane.envoy.extensions.request_id.uuid.v3 import UuidRequestIdConfig
from envoy_data_plane.google.protobuf import Any

from sidecar.envoyconf.inputs import Scheme, Upstream
from sidecar.envoyconf.typed import seconds
from sidecar.envoyconf.upstream_cluster import UPSTREAM_CLUSTER
from sidecar.exchange.core import ATTEMPT


def routes(
    name: str, upstream: Upstream, enabled: Mapping[str, dict[str, Any]] = MappingProxyType({})
) -> RouteConfiguration:
    """The routes to the one upstream, as the configuration `name`.

    `idempotency_attempt` is taken off: CGI and WSGI cannot tell it from `idempotency-attempt`, the sidecar's.

    Args:
        name: The configuration's.
        upstream: Where everything goes.
        enabled: By the name of a header, what filters are told of requests that have it: it enables those
            that are disabled otherwise.
    """
    told_apart = [_route(upstream, header, filters) for header, filters in enabled.items()]
    host = VirtualHost(name="upstream", domains=["*"], routes=[*told_apart, _route(upstream)])
    return RouteConfiguration(
        name=name, virtual_hosts=[host], request_headers_to_remove=[ATTEMPT.replace("-", "_")]
    )


def router() -> HttpFilter:
    """The end of the filter chain; of Envoy's own headers it adds none."""
    return HttpFilter(
        name="envoy.filters.http.router", typed_config=Any.pack(Router(suppress_envoy_headers=True))
    )


def request_id() -> RequestIdExtension:
    """Without tracing there is no reason to write into an id, which Envoy does by default."""
    config = UuidRequestIdConfig(pack_trace_reason=False)
    return RequestIdExtension(typed_config=Any.pack(config))


def _route(upstream: Upstream, header: str | None = None, filters: dict[str, Any] | None = None) -> Route:
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
    if header is None:
        return Route(name="everything", match=RouteMatch(prefix="/"), route=action)
    match = RouteMatch(prefix="/", headers=[HeaderMatcher(name=header, present_match=True)])
    return Route(name=f"with {header}", match=match, route=action, typed_per_filter_config=filters or {})
