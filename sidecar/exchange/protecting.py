"""What a request is claimed by, once its key is known; and which requests cannot have a key at all."""

from sidecar.exchange.call import Call
from sidecar.exchange.core import Core
from sidecar.exchange.effects import Release
from sidecar.exchange.events import ClaimFailed
from sidecar.idempotency.claim import Claim
from sidecar.idempotency.policy import Execution, KeyPlace, Mode, Policy
from sidecar.idempotency.problem import CallNotSupported, KeyInvalid
from sidecar.idempotency.request import Request
from sidecar.idempotency.scope import record_id

_SHADOW = Mode.SHADOW


class Protecting(Core):
    """The claim that an exchange asks the store for."""

    def _protect(self, key: str) -> None:
        """Make the claim of a request with this key.

        Raises:
            KeyInvalid: What it answers could not be recorded, or not replayed.
        """
        request, policy = self._request, self._policy
        _check_protectable(request)
        if request.may_be_grpc:
            _check_call_protectable(request, policy)
            self._grpc_call = Call(is_open=self._request_has_body)
        self._claim = Claim(
            id=record_id(policy.scope, request, key, in_shadow=policy.mode is _SHADOW),
            owner=self._owner,
            attempt=0,
            lease_ms=policy.lease_ms,
            ttl_ms=policy.ttl_ms,
            tombstone_ms=policy.tombstone_ms,
        )

    def _drop_unseen(self, event: ClaimFailed) -> tuple[Release, ...]:
        """The claim may have been taken though its answer was lost; nothing may come of it: it can go."""
        return (Release(self._claim),) if event.asked else ()


def _check_protectable(request: Request) -> None:
    """Refuse a key on what cannot be recorded: passing it on unclaimed would break the promise (G5)."""
    if request.is_upgrade:
        raise KeyInvalid(
            "A request that upgrades its connection cannot have an idempotency key; leave one of them out."
        )


def _check_call_protectable(request: Request, policy: Policy) -> None:
    """The same for what an upstream may take for a gRPC call."""
    if not request.is_grpc:
        raise KeyInvalid(
            "A request of this content-type, gRPC-Web for one, cannot have an idempotency key; "
            "allowed for gRPC: application/grpc, or application/grpc+ and a format."
        )
    if policy.execution is Execution.DETACHED:
        raise CallNotSupported("execution: detached")
    if policy.key.place is KeyPlace.DERIVED:
        raise CallNotSupported("key.from: derived")
