"""The address of the store. It may hold a password, so no message here ever shows any of it."""

import re
from types import MappingProxyType
from urllib.parse import SplitResult, parse_qsl, urlsplit

from pydantic import SecretStr

from sidecar.config.errors import RefusedError, quoted
from sidecar.config.fragments import string
from sidecar.config.kinds import NOT_YET, Kind, near, one_of

URL_FORM = (
    "memory:, redis://[user:password@]host[:port][/database], the same with rediss://, or file:/absolute/path"
)
_MEMORY = "memory:"
_SCHEMES = ("redis", "rediss")
_LATER = ("redis+sentinel", "redis+cluster", "postgresql", "postgres")
_PATH = re.compile(r"(?:/[0-9]{0,5})?")
_TLS_OPTIONS = MappingProxyType(
    {
        "ssl_ca_certs": re.compile(r"/.+"),
        "ssl_certfile": re.compile(r"/.+"),
        "ssl_keyfile": re.compile(r"/.+"),
        "ssl_cert_reqs": re.compile(r"none|optional|required"),
        "ssl_check_hostname": re.compile(r"(?i)true|false"),
    }
)


def holds_password(url: str) -> bool:
    """Whether a password stands in the URL itself."""
    try:
        return bool(urlsplit(url).password)
    except ValueError:
        return False


def is_memory(url: SecretStr) -> bool:
    """Whether the store lives in the process itself."""
    return url.get_secret_value() == _MEMORY


def store_url() -> Kind[SecretStr]:
    """The kind of `store.url`."""
    fragment = string(r"memory:|rediss?://[!-~]+|file:/.+")
    return Kind("a store's address", URL_FORM, _parse, lambda url: url.get_secret_value(), fragment=fragment)


def _parse(text: str) -> SecretStr:
    if text == _MEMORY:
        return SecretStr(text)
    scheme, separator, _ = text.partition(":")
    if scheme in _LATER:
        raise RefusedError(f"{quoted(scheme)} is {NOT_YET}")
    if not separator or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        raise RefusedError("the address does not begin with a scheme")
    if scheme not in _SCHEMES:
        raise RefusedError(f"the scheme {quoted(scheme)} is not known{near(scheme, _SCHEMES)}")
    _check(text)
    return SecretStr(text)


def _check(text: str) -> None:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise RefusedError("host or port are malformed") from None
    if not url.hostname or port == 0 or not text.isascii() or not text.isprintable() or " " in text:
        raise RefusedError("host or port are malformed")
    if _PATH.fullmatch(url.path) is None:
        raise RefusedError("the database is not a number")
    if url.fragment:
        raise RefusedError("a # stands in it; in a password it is written %23")
    _check_options(url)


def _check_options(url: SplitResult) -> None:
    allowed = tuple(_TLS_OPTIONS) if url.scheme == "rediss" else ()
    for name, value in parse_qsl(url.query, keep_blank_values=True):
        if name not in allowed:
            known = (
                f"no option here, or {one_of(allowed)}"
                if allowed
                else "no option here (TLS ones need rediss://)"
            )
            raise RefusedError(f"the option {quoted(name)} is not known", known)
        if _TLS_OPTIONS[name].fullmatch(value) is None:
            raise RefusedError(
                f"the option {quoted(name)} has a value that is not allowed", _option_form(name)
            )


def _option_form(name: str) -> str:
    forms = {"ssl_cert_reqs": "none, optional or required", "ssl_check_hostname": "true or false"}
    return forms.get(name, "an absolute path")
