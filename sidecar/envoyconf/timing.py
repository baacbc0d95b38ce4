"""How long Envoy waits, which has to be longer than what the sidecar may take."""

from collections.abc import Iterator

from sidecar.exchange.core import LARGE_BODY_MS, SLACK_MS
from sidecar.idempotency.policy import Execution, Mode, Policies

_LEAST_MESSAGE_MS = 1_000
_LEAST_OVERRIDE_MS = LARGE_BODY_MS
_LEAST_IDLE_MS = 300_000
_IDLE_SLACK_MS = SLACK_MS + 5_000


def message_timeout_ms(store_timeout_ms: int) -> int:
    """How long Envoy waits for one answer of the sidecar, in milliseconds.

    Longer than two store operations that time out, so that the sidecar's own answer (`store-unavailable`)
    comes before Envoy's 504, which explains nothing.
    """
    return max(_LEAST_MESSAGE_MS, 2 * store_timeout_ms + 500)


def max_message_timeout_ms(policies: Policies, store_timeout_ms: int) -> int:
    """How far the sidecar may extend that wait: Envoy ignores what asks for more.

    The longest that a policy's duplicate may wait and its detached call may then take, and the slack that
    the exchange asks for; never less than the timeout it extends.
    """
    longest = max((wait + deadline for wait, deadline in _silences(policies)), default=0)
    return max(_LEAST_OVERRIDE_MS, message_timeout_ms(store_timeout_ms), longest + SLACK_MS)


def stream_idle_ms(policies: Policies) -> int:
    """How long a client's request may stay silent both ways before Envoy gives it up.

    Nothing moves while a duplicate waits, nor while a detached call runs; one may follow the other.
    """
    longest = max((wait + deadline for wait, deadline in _silences(policies)), default=0)
    return max(_LEAST_IDLE_MS, longest + _IDLE_SLACK_MS)


def origin_idle_ms(policies: Policies) -> int:
    """The same for a detached call on the origin listener: the sidecar's own deadline comes first."""
    longest = max((deadline for _, deadline in _silences(policies)), default=0)
    return max(_LEAST_IDLE_MS, longest + _IDLE_SLACK_MS)


def _silences(policies: Policies) -> Iterator[tuple[int, int]]:
    """What each policy may wait for a record, and may take for a detached call, in milliseconds."""
    for policy in policies.policies:
        if policy.mode is not Mode.OFF:
            detached = policy.execution is Execution.DETACHED
            yield policy.in_progress.wait_ms, policy.deadline_ms if detached else 0
