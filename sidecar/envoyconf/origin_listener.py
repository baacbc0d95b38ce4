"""The origin listener: where the sidecar makes detached calls (CONTRACT §6).

Behind it stand the routes and clusters of the main listener, and no idempotency filter: whoever reaches it
executes. So it is a unix socket that only its owner can open, or an address of the loopback.
"""

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
    Http1ProtocolOptions,
    HttpProtocolOptions,
    Pipe,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import HeaderMutation as MutationFilter
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import Mutations
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerCodecType,
    HttpConnectionManagerServerHeaderTransformation,
    HttpFilter,
)
from envoy_data_plane.google.protobuf import Any

from sidecar.envoyconf.addresses import TcpAddress, UnixAddress
from sidecar.envoyconf.inputs import EnvoyInputs
from sidecar.envoyconf.routing import request_id, router, routes
from sidecar.envoyconf.timing import origin_idle_ms
from sidecar.envoyconf.typed import milliseconds, socket
from sidecar.origin.provenance import PROVENANCE, PROVENANCE_FORMAT

ORIGIN_LISTENER = "idempotency_origin"

_OWNER_ONLY = 0o600
_MAX_HEADERS_KIB = 96
_MAX_HEADERS = 200
_BACKLOG = 4_096  # every call is a connection; the kernel takes what its own limit (somaxconn) allows


def origin_listener(inputs: EnvoyInputs, address: TcpAddress | UnixAddress) -> Listener:
    """The listener at `address`.

    It does not count against the limit on clients' connections: a call that is cut off for being one too many
    has an outcome that nobody knows. The sidecar bounds its calls itself (`origin.max_concurrent`).
    """
    manager = Filter(
        name="envoy.filters.network.http_connection_manager",
        typed_config=Any.pack(_connection_manager(inputs)),
    )
    return Listener(
        name=ORIGIN_LISTENER,
        address=_private(address),
        filter_chains=[FilterChain(filters=[manager])],
        tcp_backlog_size=_BACKLOG,
        ignore_global_conn_limit=True,
    )


def _connection_manager(inputs: EnvoyInputs) -> HttpConnectionManager:
    """It passes on what the main listener made of a request, and makes nothing of it a second time.

    * `use_remote_address` is false: `x-forwarded-for` and `x-forwarded-proto` name the client already, and
      the peer here is the sidecar. Headers that choose retries or hedges are taken off all the same, as
      nobody is internal while `internal_address_config` is unset.
    * Paths stay as they are: they were normalised on the way in.
    * The limits on headers lie above the main listener's, whose additions a request brings along.
    """
    return HttpConnectionManager(
        codec_type=HttpConnectionManagerCodecType.HTTP1,
        stat_prefix="idempotency_origin",
        route_config=_routes(inputs),
        http_filters=[_provenance(), router()],
        http_protocol_options=Http1ProtocolOptions(enable_trailers=True),
        common_http_protocol_options=HttpProtocolOptions(max_headers_count=_MAX_HEADERS),
        max_request_headers_kb=_MAX_HEADERS_KIB,
        server_header_transformation=HttpConnectionManagerServerHeaderTransformation.PASS_THROUGH,
        stream_idle_timeout=milliseconds(origin_idle_ms(inputs.policies)),
        preserve_external_request_id=True,
        request_id_extension=request_id(),
    )


def _routes(inputs: EnvoyInputs) -> RouteConfiguration:
    """Those of the main listener; none where that belongs to somebody else's configuration."""
    if inputs.upstream is None:
        return RouteConfiguration(name=ORIGIN_LISTENER)
    return routes(ORIGIN_LISTENER, inputs.upstream)


def _provenance() -> HttpFilter:
    """Says where each answer came from.

    The first filter of the chain is the last that sees an answer, Envoy's own replies included, so what it
    writes over the header stands, whatever an upstream has sent under that name.
    """
    header = HeaderValueOption(
        header=HeaderValue(key=PROVENANCE, value=PROVENANCE_FORMAT),
        append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
        keep_empty_value=False,
    )
    mutations = Mutations(response_mutations=[HeaderMutation(append=header)])
    return HttpFilter(
        name="envoy.filters.http.header_mutation",
        typed_config=Any.pack(MutationFilter(mutations=mutations)),
    )


def _private(address: TcpAddress | UnixAddress) -> Address:
    if isinstance(address, UnixAddress):
        return Address(pipe=Pipe(path=address.path, mode=_OWNER_ONLY))
    return socket(address)
