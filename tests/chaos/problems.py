"""Whether a problem document is what CONTRACT §4 says of it."""

import json
from collections.abc import Iterator, Mapping

from tests.chaos.history import Answer

MEDIA_TYPE = "application/problem+json"
_NAMESPACE = "urn:idempotency:"
_EARLY = "answered before its request had ended"

STATUSES: Mapping[str, tuple[int, ...]] = {
    "in-progress": (409,),
    "key-reused": (422,),
    "outcome-unknown": (409, 502, 504),  # the two others tell a detached call's own client
    "store-unavailable": (503,),
    "origin-unavailable": (503,),
}
"""The problems that a request of the workload may get, and their statuses, the usual one first."""

_WITH_RETRY_AFTER = frozenset({"in-progress", "store-unavailable", "origin-unavailable"})


def kind_of(answer: Answer) -> str | None:
    """The problem's type without its namespace; None where the answer is no problem document."""
    if answer.header("content-type") != MEDIA_TYPE:
        return None
    document = _document(answer)
    said = document.get("type") if document else None
    return said.removeprefix(_NAMESPACE) if isinstance(said, str) else "?"


def is_of_early_answer(answer: Answer) -> bool:
    """Whether it is refused because an attempt was answered early: held under any policy (decision 12)."""
    document = _document(answer) if kind_of(answer) == "outcome-unknown" else None
    return document is not None and _EARLY in str(document.get("detail"))


def faults_of(answer: Answer, request_id: str) -> Iterator[str]:
    """What is wrong with the problem document, in words."""
    document = _document(answer)
    if document is None:
        yield "its body is no JSON object"
        return
    kind = kind_of(answer)
    if kind is None or kind not in STATUSES:
        yield f"its type is {document.get('type')!r}"
        return
    if answer.status != document.get("status") or answer.status not in STATUSES[kind]:
        yield f"{kind} with status {answer.status}, in the document {document.get('status')!r}"
    for member in ("title", "detail"):
        if not isinstance(document.get(member), str) or not document[member]:
            yield f"no {member}"
    if document.get("instance") != request_id:
        yield f"instance {document.get('instance')!r} instead of the request's id"
    retry_after = answer.header("retry-after")
    if kind in _WITH_RETRY_AFTER and not (retry_after or "").isdigit():
        yield f"{kind} with Retry-After {retry_after!r}"
    if kind not in _WITH_RETRY_AFTER and retry_after is not None:
        yield f"{kind} with a Retry-After"


def _document(answer: Answer) -> dict[str, object] | None:
    try:
        document = json.loads(answer.body)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
