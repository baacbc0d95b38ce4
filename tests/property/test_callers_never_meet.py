"""Two callers with one key have one id only where they are equal in every part of the scope (G4)."""

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sidecar.idempotency.context import Context, Json
from sidecar.idempotency.identity import JWT_NAMESPACE
from sidecar.idempotency.request import Request
from sidecar.idempotency.scope import ScopePart, record_id

# Few letters and few values, so that callers often nearly meet.
TEXT = st.text('ab",[', max_size=2)
JSON: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.sampled_from([0, 1, 1.5]) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=3,
)
CLAIMS = st.dictionaries(st.sampled_from(["iss", "sub"]), JSON)
FIELDS = st.lists(st.tuples(st.sampled_from(["a", "b"]), TEXT.map(str.encode)), max_size=3).map(tuple)
PEERS = st.none() | st.tuples(st.sampled_from(["uri", "dns", "subject"]), TEXT)
NOTES = st.dictionaries(st.sampled_from(["k", "l"]), JSON, max_size=2)


def caller(
    fields: tuple[tuple[str, bytes], ...],
    peer: tuple[str, str] | None,
    claims: dict[str, Json],
    notes: dict[str, Json],
) -> Request:
    """A request with all that tells who sent it."""
    metadata: dict[str, dict[str, Json]] = {JWT_NAMESPACE: {"provider": claims}, "n.s": notes}
    return Request("POST", "shop", "/pay", None, fields, context=Context("", peer, metadata))


CALLERS = st.builds(caller, FIELDS, PEERS, CLAIMS, NOTES)
PARTS = [
    ScopePart.header("a"), ScopePart.header("b"), ScopePart("jwt", "sub"), ScopePart("peer"),
    ScopePart("metadata", "n.s.k"), ScopePart("metadata", "n.s.l"),
]  # fmt: skip
SCOPES = st.lists(st.sampled_from(PARTS), min_size=1, max_size=4, unique=True).map(tuple)


def typed(value: Json) -> object:
    """A value that equals another only if both are of one JSON type: True is not 1, though Python says so."""
    if isinstance(value, dict):
        return {name: typed(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [typed(inner) for inner in value]
    return (isinstance(value, bool), value)


def identity(scope: tuple[ScopePart, ...], request: Request) -> list[object]:
    """What a caller is by this scope: an empty list for an absent part, else one with its value."""
    claims = request.context.metadata[JWT_NAMESPACE]["provider"]
    assert isinstance(claims, dict)
    found: list[object] = []
    for part in scope:
        match part.kind:
            case "header":
                found.append([value for name, value in request.headers if name == part.name])
            case "jwt":
                found.append(
                    [typed([claims[name] for name in ("iss", "sub") if name in claims])]
                    if "sub" in claims
                    else []
                )
            case "peer":
                found.append([request.context.peer] if request.context.peer else [])
            case _:
                notes = request.context.metadata["n.s"]
                found.append([typed(notes[part.name[-1]])] if part.name[-1] in notes else [])
    return found


@settings(max_examples=500)
@given(SCOPES, CALLERS, CALLERS)
def test_two_callers_share_an_id_only_where_they_are_equal_in_every_part(
    scope: tuple[ScopePart, ...], one: Request, other: Request
) -> None:
    same = identity(scope, one) == identity(scope, other)

    assert (record_id(scope, one, "k") == record_id(scope, other, "k")) is same


@given(CALLERS, st.sampled_from(PARTS), JSON)
def test_one_part_that_differs_is_enough(request: Request, part: ScopePart, value: Json) -> None:
    claims = request.context.metadata[JWT_NAMESPACE]["provider"]
    assert isinstance(claims, dict)
    changed = {**request.context.metadata, JWT_NAMESPACE: {"provider": {**claims, "sub": value}}}
    other = replace(request, context=replace(request.context, metadata=changed))
    scope = (part, ScopePart("jwt", "sub"))

    same = identity(scope, request) == identity(scope, other)
    assert (record_id(scope, request, "k") == record_id(scope, other, "k")) is same


@given(CALLERS, TEXT)
def test_no_scope_of_one_kind_gives_the_id_of_another(request: Request, key: str) -> None:
    ids = {record_id((part,), request, key) for part in PARTS}

    assert len(ids) == len(PARTS)
