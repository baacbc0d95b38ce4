"""Where in a cluster a rendered resource belongs. Light to import: none of Envoy's types is loaded here."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_KEY = re.compile(
    r"(?:[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


@dataclass(frozen=True, slots=True)
class Placement:
    """The name of what is rendered, and what it is for.

    Attributes:
        name: Of the resources (RFC 1123: a DNS subdomain in lower case).
        namespace: Where they and what they are for live.
        workload: The labels of the pods that an EnvoyFilter is for; none: all of the namespace.
        at_gateway: An EnvoyFilter is for the gateways among them, not for their sidecars.
        gateway: The Gateway (Gateway API) that Envoy Gateway's resources are for.
        listener: The name of its listener.

    Raises:
        ValueError: One of them is not well-formed; the message says what is allowed.
    """

    name: str = "idempotency"
    namespace: str = "default"
    workload: Mapping[str, str] = field(default_factory=dict)
    at_gateway: bool = False
    gateway: str = "eg"
    listener: str = "http"

    def __post_init__(self) -> None:
        """Refuse what Kubernetes would refuse."""
        for name in (self.name, self.gateway, self.listener):
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} is not a name; allowed: a-z, 0-9, - and . between them, up to 253"
                )
        if not _LABEL.fullmatch(self.namespace):
            raise ValueError(
                f"{self.namespace!r} is not a namespace; allowed: a-z, 0-9 and - inside, up to 63"
            )


def read_labels(texts: Iterable[str]) -> dict[str, str]:
    """Labels, each written `KEY=VALUE`.

    Raises:
        ValueError: One is not; the message says what is allowed.
    """
    labels = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not _KEY.fullmatch(key) or not _VALUE.fullmatch(value):
            raise ValueError(f"{text!r} is not a label; allowed: KEY=VALUE, such as app=payments")
        labels[key] = value
    return labels


def read_target(text: str) -> tuple[str, str]:
    """A gateway and its listener, written `GATEWAY/LISTENER`.

    Raises:
        ValueError: It is not; the message says what is allowed.
    """
    gateway, slash, listener = text.partition("/")
    if not slash or not _NAME.fullmatch(gateway) or not _NAME.fullmatch(listener):
        raise ValueError(f"{text!r} is not a target; allowed: GATEWAY/LISTENER, such as eg/http")
    return gateway, listener
