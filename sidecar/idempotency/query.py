"""The query of a request's target, read by the rules of a form: what every client writes there."""

from sidecar.idempotency import form


def parameters(query: str, name: str) -> tuple[bytes, ...]:
    """The decoded values of every parameter of this name, in order; none where there is no such parameter.

    `query` is without its `?`, one character for each byte on the wire. `name` is plain text; it is compared
    with decoded ones.
    """
    wanted = name.encode()
    return tuple([value for found, value in form.fields(query.encode("latin-1")) if found == wanted])


def unordered(query: str) -> bytes:
    """The bytes that all queries with the same parameters have, and no others (see `form.canonical`)."""
    return form.canonical(query.encode("latin-1"))
