"""The kinds of values that HTTP defines: methods, hosts, paths, header names, statuses, URLs."""

import re
from urllib.parse import urlsplit

from sidecar.config.errors import RefusedError, quoted
from sidecar.config.fragments import either, scalar, string
from sidecar.config.kinds import Kind, one_of
from sidecar.idempotency import paths
from sidecar.idempotency.fields import HOP_BY_HOP
from sidecar.idempotency.grpc import GrpcStatus

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?:(?:\*\.)?{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]+\])(?::([0-9]{{1,5}}))?")
_OUTCOME_KEY = re.compile(r"[2-5][0-9][0-9]|[2-5]xx")
_MAX_HOST, _MAX_PATH = 253, 1024
_WILDCARD = re.compile(r"\*\*|\*")
_OF_EVERY_REQUEST = frozenset(("x-request-id", "content-length", "authorization", "cookie", "date", "via"))
_OF_PROXIES = ("x-forwarded-", "x-envoy-")
_OWN = frozenset(("idempotency-attempt", "idempotency-expires", "idempotent-replayed"))


def method() -> Kind[str]:
    """A request method (RFC 9110 §9.1); CONNECT is a tunnel, which has no response to replay."""

    def parse(given: str) -> str:
        if _TOKEN.fullmatch(given) is None:
            raise RefusedError(f"{quoted(given)} is not a method")
        if given != given.upper():
            raise RefusedError(f"{quoted(given)} is not upper-case")
        if given == "CONNECT":
            raise RefusedError("CONNECT opens a tunnel, which has no response to replay")
        return given

    fragment = scalar(rf"(?!CONNECT$|.*[a-z]){_TOKEN.pattern}")
    return Kind("a method", "an upper-case method such as POST; not CONNECT", parse, fragment=fragment)


def host() -> Kind[str]:
    """A host, exact or `*.suffix`, with or without a port."""

    def parse(given: str) -> str:
        found = _HOST.fullmatch(given)
        if found is None or len(given) > _MAX_HOST or int(found[1] or 1) not in range(1, 65_536):
            raise RefusedError(f"{quoted(given)} is not a host")
        return given

    allowed = "a host such as api.example.com, or *.example.com, with or without :port"
    return Kind("a host", allowed, parse, fragment=scalar(_HOST.pattern))


def path() -> Kind[str]:
    """A glob over the request's path (see `sidecar.idempotency.patterns`).

    Clients choose the paths, so no pattern may take long on any of them. The one `*` of a
    segment has one place to stop; two in a segment, or two `**`, would be tried in every combination.
    """

    def parse(given: str) -> str:
        if not given.startswith("/"):
            raise RefusedError(f"{quoted(given)} does not begin with /")
        if "?" in given or "#" in given:
            raise RefusedError(f"{quoted(given)} has a query or a fragment, which is not part of the path")
        if not (given.isascii() and given.isprintable()) or " " in given or len(given) > _MAX_PATH:
            raise RefusedError(f"{quoted(given)} is not a path as it is sent: short, percent-encoded ASCII")
        inner = given.removesuffix("/**")
        if inner.count("**") > 1 or any(len(_WILDCARD.findall(part)) > 1 for part in inner.split("/")):
            raise RefusedError(f"{quoted(given)} has too many wildcards", wildcards)
        normal = paths.normalise(given)
        if normal != given:
            raise RefusedError(f"{quoted(given)} is never met: Envoy normalises paths", quoted(normal))
        return given

    wildcards = "one wildcard in a segment, and one ** besides a final /**"
    allowed = "a path from /, with * within a segment and ** across them, such as /v1/payments/**"
    return Kind("a path", allowed, parse, fragment=string(r"/[!-\"$->@-~]*"))


def header_name() -> Kind[str]:
    """The name of a header field that the sidecar can see and that belongs to the exchange."""

    def parse(given: str) -> str:
        if _TOKEN.fullmatch(given) is None:
            raise RefusedError(f"{quoted(given)} is not a header name")
        if given.lower() == "host":
            raise RefusedError("Host is no header here: Envoy turns it into the authority")
        if given.lower() in HOP_BY_HOP:
            raise RefusedError(f"{quoted(given)} belongs to one connection, not to the exchange")
        if given.lower() in _OWN:
            raise RefusedError(f"{quoted(given)} is set by the sidecar itself")
        return given

    fragment = scalar(_TOKEN.pattern)
    return Kind(
        "a header name", "the name of an end-to-end header, such as Idempotency-Key", parse, fragment=fragment
    )


def key_header_name() -> Kind[str]:
    """The name of a header that a key may stand in.

    Not of one that Envoy adds where a client sends none, for then each request has a key of its own, and a
    missing one is never missed; nor of one that is no secret among logs (a request's id), or says who asks.
    """
    any_header = header_name()

    def parse(given: str) -> str:
        any_header.validate(given)
        if given.lower() in _OF_EVERY_REQUEST or given.lower().startswith(_OF_PROXIES):
            raise RefusedError(f"{quoted(given)} is no client's key: requests have it for other reasons")
        return given

    return Kind("a header name", any_header.allowed, parse, fragment=any_header.fragment)


def outcome_key() -> Kind[str]:
    """What an override of an outcome is for: an HTTP status or a class of them, or a gRPC status by name."""
    calls = tuple(f"grpc:{status.name}" for status in GrpcStatus)

    def parse(given: str) -> str:
        if given.startswith("grpc:") and given not in calls:
            raise RefusedError(f"{quoted(given)} is no status of gRPC", one_of(calls))
        if given not in calls and _OUTCOME_KEY.fullmatch(given) is None:
            raise RefusedError(f"{quoted(given)} is not a status or a class of them")
        return given

    return Kind(
        "a status",
        "a status from 200 to 599, a class (2xx, 3xx, 4xx or 5xx), or grpc: and a status of gRPC, such as "
        "grpc:UNAVAILABLE",
        parse,
        fragment=string("|".join((_OUTCOME_KEY.pattern, *calls))),
    )


def web_url() -> Kind[str]:
    """A URL that a client may be pointed to, or null; it is sent in a Link header, between `<` and `>`."""
    allowed = "an http:// or https:// URL, or null"

    def parse(given: str) -> str:
        try:
            url = urlsplit(given)
            usable = (
                url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0 and not url.username
            )
        except ValueError:
            usable = False
        if not usable or re.fullmatch(r"[!-~]{1,2000}", given) is None or set(given) & set('<>"\\^`{|}'):
            raise RefusedError(f"{quoted(given)} is not a URL to show to clients")
        return given

    fragment = either(string("https?://[!-~]{1,1990}"), {"type": "null"})
    return Kind("a URL", allowed, parse, null=True, fragment=fragment)
