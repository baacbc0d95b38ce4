"""Where a description says that it is served: the URLs of a server, with every value of their variables."""

import itertools
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from sidecar.config.errors import RefusedError, quoted

_MAX_URLS = 64
_A_TEXT = "a text"
_A_URL = "https://HOST/PATH or /PATH"


def urls(server: Mapping[str, object]) -> tuple[str, ...]:
    """A server's URLs, at most 64; a variable without an `enum` has its default.

    Raises:
        RefusedError: The server does not have its shape, or what its variables make of its URL is none.
    """
    template = _text(server.get("url", "/"), "the url of a server")
    variables = server.get("variables") or {}
    if not isinstance(variables, dict):
        raise RefusedError("the variables of a server are not a mapping", "a mapping")
    choices = [_values(name, variable) for name, variable in variables.items()]
    combinations = itertools.islice(itertools.product(*choices), _MAX_URLS)
    return tuple(_url(template, zip(variables, values, strict=True)) for values in combinations)


def _values(name: object, variable: object) -> list[str]:
    which = f"the server variable {quoted(name)}"
    if not isinstance(variable, dict):
        raise RefusedError(f"{which} is not a mapping", "a mapping")
    values = variable.get("enum") or [variable.get("default", "")]
    if not isinstance(values, list):
        raise RefusedError(f"the enum of {which} is not a list", "a list of texts")
    return [_text(value, f"a value of {which}") for value in values]


def _url(template: str, values: Iterable[tuple[object, str]]) -> str:
    url = template
    for name, value in values:
        url = url.replace(f"{{{name}}}", value)
    try:
        urlsplit(url)
    except ValueError:
        raise RefusedError(f"{quoted(url)} is not a URL", _A_URL) from None
    return url


def _text(value: object, what: str) -> str:
    """A value as text: YAML reads a port as a number."""
    if value is None or isinstance(value, dict | list):
        raise RefusedError(f"{what} is {quoted(value)}", _A_TEXT)
    return str(value)
