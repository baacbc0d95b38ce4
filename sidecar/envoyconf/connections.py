"""The HTTP connection manager in front of the upstream: clients, paths, headers, routes.

It changes as little as it can, for the service should not notice that it is there: `Server` and
`x-request-id` are left as they are, Envoy's own response headers are not added, HTTP/1.1 trailers pass.
What it does change keeps the sidecar and the service of one mind about a request.
"""

from envoy_data_plane.envoy.config.core.v3 import Http1ProtocolOptions, Http2ProtocolOptions
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerPathWithEscapedSlashesAction,
    HttpConnectionManagerServerHeaderTransformation,
)

from sidecar.envoyconf.agreement import refuses_escaped_slashes
from sidecar.envoyconf.filter import enabled_by_header, idempotency_filters
from sidecar.envoyconf.inputs import EnvoyInputs, Upstream
from sidecar.envoyconf.routing import request_id, router, routes
from sidecar.envoyconf.timing import stream_idle_ms
from sidecar.envoyconf.typed import milliseconds, seconds
from sidecar.idempotency.policy import Policies

EscapedSlashes = HttpConnectionManagerPathWithEscapedSlashesAction

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
    * A stream that stays silent for five minutes, or for longer than the policies allow themselves, is given
      up. Nothing else limits how long a call takes.
    """
    enabled = enabled_by_header(inputs)
    return HttpConnectionManager(
        stat_prefix="ingress",
        route_config=routes("ingress", upstream, enabled),
        http_filters=[*idempotency_filters(inputs, disabled=bool(enabled)), router()],
        http_protocol_options=Http1ProtocolOptions(enable_trailers=True),
        http2_protocol_options=_http2(),
        server_header_transformation=HttpConnectionManagerServerHeaderTransformation.PASS_THROUGH,
        stream_idle_timeout=milliseconds(stream_idle_ms(inputs.policies)),
        request_headers_timeout=seconds(_REQUEST_HEADERS_S),
        use_remote_address=True,
        preserve_external_request_id=True,
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action=escaped_slashes(inputs.policies),
        request_id_extension=request_id(),
    )


def escaped_slashes(policies: Policies) -> EscapedSlashes:
    """What becomes of `%2F` and its kin in a path.

    Many services decode a path before they route it, so `/v1%2Fpayments` reaches their payments although no
    pattern of the sidecar's covers it. And `/internal/..%2Fv1/payments` is covered by that of a policy before
    the one for payments, which may only watch, or be off. So where a policy enforces and one, whichever,
    selects by path, such a request is refused (400). Else no spelling evades a policy, and the path passes.
    """
    refuses = refuses_escaped_slashes(policies)
    return EscapedSlashes.REJECT_REQUEST if refuses else EscapedSlashes.KEEP_UNCHANGED


def _http2() -> Http2ProtocolOptions:
    """Limits for clients that are not trusted, after Envoy's advice for an edge."""
    return Http2ProtocolOptions(
        max_concurrent_streams=_STREAMS_PER_CONNECTION,
        initial_stream_window_size=_STREAM_WINDOW,
        initial_connection_window_size=_CONNECTION_WINDOW,
    )
