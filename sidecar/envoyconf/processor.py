"""The external processor: how Envoy speaks to the sidecar, what it tells, how long it waits."""

from envoy_data_plane.envoy.config.core.v3 import (
    BackoffStrategy,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    RetryPolicy,
    RetryPolicyRetryHostPredicate,
)
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import ExternalProcessor
from envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 import PreviousHostsPredicate
from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode
from envoy_data_plane.google.protobuf import Any

from sidecar.envoyconf.inputs import EnvoyInputs
from sidecar.envoyconf.knowledge import initial_metadata, metadata_options, request_attributes
from sidecar.envoyconf.modes import on_demand, processing_mode
from sidecar.envoyconf.sidecar_cluster import SIDECAR_CLUSTER
from sidecar.envoyconf.timing import max_message_timeout_ms, message_timeout_ms
from sidecar.envoyconf.typed import milliseconds
from sidecar.idempotency.policy import Mode

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


def processor(inputs: EnvoyInputs) -> ExternalProcessor:
    """The processor, in the modes of `modes.processing_mode`.

    An exchange without a decision fails with 503, it never passes undecided, except where there is none to be
    made (`fails_open`). The default mutation rules suffice: the sidecar sets and removes headers of its own,
    none of the system's.
    """
    watching, version = fails_open(inputs), inputs.envoy_version
    return ExternalProcessor(
        grpc_service=_grpc_service(inputs),
        failure_mode_allow=watching,
        processing_mode=processing_mode(version, only_watching=watching),
        request_attributes=request_attributes(inputs.policies),
        response_attributes=_RESPONSE_ATTRIBUTES,
        message_timeout=milliseconds(message_timeout_ms(inputs.store_timeout_ms)),
        stat_prefix="idempotency",
        max_message_timeout=milliseconds(max_message_timeout_ms(inputs.policies, inputs.store_timeout_ms)),
        allow_mode_override=on_demand(version, only_watching=watching),
        metadata_options=metadata_options(inputs.policies),
        status_on_error=HttpStatus(code=StatusCode.ServiceUnavailable),
        allow_content_length_header=version.keeps_lengths,
    )


def fails_open(inputs: EnvoyInputs) -> bool:
    """Whether requests pass where the sidecar is down: only where it is there to watch, and nothing else.

    A policy in shadow mode changes nothing, and a sidecar that is down must not either. One policy that
    enforces is enough for all to fail closed, as the filter has one answer for every request. Where no policy
    does anything, a client's own `idempotency-attempt` has still to be taken off.
    """
    return {policy.mode for policy in inputs.policies.policies} - {Mode.OFF} == {Mode.SHADOW}


def _grpc_service(inputs: EnvoyInputs) -> GrpcService:
    """The gRPC client; with several workers, a stream that ends before its first answer is opened at another.

    `reset`: the connection failed or was lost, or HTTP/2 says that a draining worker did not take the stream;
    `cancelled`: gRPC's own library says the latter so. Before the first answer nothing is forwarded, and the
    new stream has to claim the key like any other. If the lost one had claimed it already (and perhaps
    executed it, where that is detached), the new one finds the claim and is refused as a duplicate: nothing
    executes twice.
    """
    # Without the fields that Envoy adds of its own: every stream would carry them, and nobody reads them.
    client = GrpcServiceEnvoyGrpc(cluster_name=SIDECAR_CLUSTER, skip_envoy_headers=True)
    says = initial_metadata(inputs.policies)
    if len(inputs.endpoints) == 1:
        return GrpcService(envoy_grpc=client, initial_metadata=says)
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
    return GrpcService(envoy_grpc=client, retry_policy=again, initial_metadata=says)
