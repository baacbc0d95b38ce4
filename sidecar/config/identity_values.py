"""The kinds of values that say whose key it is and where it stands: scope parts, pointers, parameters."""

from collections.abc import Callable
from types import MappingProxyType

from sidecar.config.errors import RefusedError, quoted
from sidecar.config.fragments import string
from sidecar.config.http_values import header_name
from sidecar.config.kinds import Kind, near
from sidecar.idempotency.pointer import Pointer

SCOPE_FORM = "header:NAME, host, method, path, jwt:CLAIM, peer or metadata:NAMESPACE.KEY"
POINTER_FORM = "a JSON Pointer (RFC 6901) such as /params/_meta/idempotencyKey"
PARAMETER_FORM = "the name of a query parameter, 1 to 128 printable characters"
_PLAIN = ("host", "method", "path", "peer")
_LONGEST_NAME, _LONGEST_POINTER = 128, 512


def scope_part() -> Kind[str]:
    """One part of a scope, as it is written: a word alone, or a kind and a name (`header:X-Tenant`)."""

    def parse(given: str) -> str:
        kind, separator, name = given.partition(":")
        if given in _PLAIN:
            return given
        if kind not in _NAMED or not separator:
            words = (*_PLAIN, *(f"{named}:" for named in _NAMED))
            raise RefusedError(f"{quoted(given)} is not part of a scope{near(given, words)}")
        _NAMED[kind](name)
        return given

    fragment = string("host|method|path|peer|header:.+|jwt:.+|metadata:.+[.].+")
    return Kind("part of a scope", SCOPE_FORM, parse, type="scope part", fragment=fragment)


def pointer() -> Kind[str]:
    """A place inside a JSON document (RFC 6901); the document as a whole is none.

    The text is kept: what it means is the domain's (`Pointer`).
    """

    def parse(given: str) -> str:
        if not given or len(given) > _LONGEST_POINTER or not given.isprintable():
            raise RefusedError(f"{quoted(given)} is not a place in a JSON document")
        try:
            return Pointer.parse(given).text
        except ValueError as error:
            raise RefusedError(f"{quoted(given)} is not a JSON Pointer: {error}") from None

    return Kind("a JSON Pointer", POINTER_FORM, parse, fragment=string("(?:/(?:[^~/]|~[01])*)+"))


def parameter() -> Kind[str]:
    """The name of a query parameter, as it is when it is decoded."""

    def parse(given: str) -> str:
        if not _is_name(given):
            raise RefusedError(f"{quoted(given)} is not the name of a query parameter")
        return given

    return Kind("the name of a query parameter", PARAMETER_FORM, parse)


def _header(name: str) -> None:
    header_name().validate(name)


def _claim(name: str) -> None:
    if not _is_name(name):
        raise RefusedError(
            f"{quoted(name)} is not the name of a claim",
            "jwt: and the name of a claim, 1 to 128 printable characters, such as jwt:sub",
        )


def _metadata(name: str) -> None:
    namespace, _, key = name.rpartition(".")
    if not _is_name(namespace) or not _is_name(key):
        raise RefusedError(
            f"{quoted(name)} does not name a namespace and a key in it",
            "metadata:NAMESPACE.KEY, split at the last dot, such as metadata:envoy.filters.http.rbac.user",
        )


_NAMED: MappingProxyType[str, Callable[[str], None]] = MappingProxyType(
    {"header": _header, "jwt": _claim, "metadata": _metadata}
)
"""The kinds that take a name, and what refuses a name they cannot have."""


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_NAME and text.isprintable()
