"""Filters that keep content-length on Envoys where ext_proc takes it off whatever it shows (before 1.38).

One filter notes the length before ext_proc sees the message, another writes it back behind ext_proc. As what
the sidecar lets pass, it lets pass unchanged, the length that was announced stays true.
"""

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation
from envoy_data_plane.envoy.config.core.v3 import (
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
)
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import HeaderMutation as MutationFilter
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import Mutations
from envoy_data_plane.envoy.extensions.filters.http.header_to_metadata.v3 import (
    Config,
    ConfigKeyValuePair,
    ConfigRule,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.google.protobuf import Any

_LENGTH = "content-length"
_METADATA = "idempotency.lengths"
_REQUEST, _RESPONSE = "request", "response"


def lengths_kept(idempotency: HttpFilter) -> list[HttpFilter]:
    """The idempotency filter between those that note lengths, and those that write them back.

    A request passes the filters in this order, a response in the opposite one.
    """
    return [
        _noting("idempotency_note_request_length", Config(request_rules=[_rule(_REQUEST)])),
        _writing("idempotency_keep_response_length", Mutations(response_mutations=[_mutation(_RESPONSE)])),
        idempotency,
        _writing("idempotency_keep_request_length", Mutations(request_mutations=[_mutation(_REQUEST)])),
        _noting("idempotency_note_response_length", Config(response_rules=[_rule(_RESPONSE)])),
    ]


def _noting(name: str, config: Config) -> HttpFilter:
    return HttpFilter(name=name, typed_config=Any.pack(config))


def _writing(name: str, mutations: Mutations) -> HttpFilter:
    return HttpFilter(name=name, typed_config=Any.pack(MutationFilter(mutations=mutations)))


def _rule(direction: str) -> ConfigRule:
    noted = ConfigKeyValuePair(metadata_namespace=_METADATA, key=direction)
    return ConfigRule(header=_LENGTH, on_header_present=noted)


def _mutation(direction: str) -> HeaderMutation:
    """Nothing is written where no length was noted: an empty value is not added."""
    header = HeaderValue(key=_LENGTH, value=f"%DYNAMIC_METADATA({_METADATA}:{direction})%")
    overwrite = HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
    return HeaderMutation(append=HeaderValueOption(header=header, append_action=overwrite))
