"""What the filter shows the sidecar of every exchange, before any answer asks for more."""

from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import (
    ProcessingMode,
    ProcessingModeBodySendMode,
    ProcessingModeHeaderSendMode,
)

from sidecar.envoyconf.version import EnvoyVersion

_SEND, _SKIP = ProcessingModeHeaderSendMode.SEND, ProcessingModeHeaderSendMode.SKIP
_DUPLEX, _STREAMED = ProcessingModeBodySendMode.FULL_DUPLEX_STREAMED, ProcessingModeBodySendMode.STREAMED


def on_demand(version: EnvoyVersion, *, only_watching: bool) -> bool:
    """Whether the filter shows the head alone until an answer asks for more.

    What is only watched is never held, and an override *with* the answer to the head is taken by every Envoy.
    It also lets requests pass where the sidecar is down (`processor.fails_open`): a body that went to it in
    full duplex is lost with it, and Envoys before 1.40 answered 503 for each that had one.
    """
    return only_watching or version.reads_held_bodies


def processing_mode(version: EnvoyVersion, *, only_watching: bool) -> ProcessingMode:
    """The request's head alone, or, for an Envoy before 1.40 with a policy that enforces, everything.

    Response headers stay off: with them on, Envoy's own replies to requests that never met the filter would
    open streams. An older Envoy lets a body be read before the answer to its head only where full duplex is
    configured, and then takes no override: all that may be needed has to be configured, the response too
    (docs/decisions/0018).

    The response's mode tells the sidecar whether replies can be streamed, for which Envoy wants both bodies
    in full duplex: where it knows no such replies, the response is shown as it passes.
    """
    if on_demand(version, only_watching=only_watching):
        return ProcessingMode(
            request_header_mode=_SEND,
            response_header_mode=_SKIP,
            request_body_mode=ProcessingModeBodySendMode.NONE,
            response_body_mode=ProcessingModeBodySendMode.NONE,
            request_trailer_mode=_SKIP,
            response_trailer_mode=_SKIP,
        )
    return ProcessingMode(
        request_header_mode=_SEND,
        response_header_mode=_SEND,
        request_body_mode=_DUPLEX,
        response_body_mode=_DUPLEX if version.streams_replies else _STREAMED,
        request_trailer_mode=_SEND,
        response_trailer_mode=_SEND,
    )
