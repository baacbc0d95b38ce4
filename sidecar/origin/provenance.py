"""Where an answer came from: the origin listener of Envoy writes it into a header, which is read here.

Inline, Envoy tells the filter by attributes; an HTTP client sees only the message. So the listener sets one
header on everything it answers, its own replies included, over whatever an upstream may have put there.
"""

from types import MappingProxyType

from sidecar.idempotency.fields import Fields, values
from sidecar.idempotency.outcome import Origin

PROVENANCE = "x-idempotency-origin"
"""The header. It is taken off before anybody else sees the answer."""

PROVENANCE_FORMAT = (
    "%RESPONSE_FLAGS% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %RESPONSE_CODE_DETAILS% %UPSTREAM_HOST%"
)
"""Its value in Envoy's command operators. Only the last, which may be a socket's path, can hold a space."""

_NOTHING = "-"
_ATTEMPTS_DIGITS = 9
"""Envoy counts with 32 bits, and never comes near; Python refuses to read what is very long."""
_SHORT_FLAGS = (
    "LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "DI", "FI", "RL", "UAEX", "RLSE", "DC", "URX",
    "SI", "IH", "DPE", "UMSDR", "RFCF", "NFCF", "DT", "UPE", "NC", "OM", "DF", "DO", "DR",
)  # fmt: skip
FLAGS = MappingProxyType({flag: 1 << bit for bit, flag in enumerate(_SHORT_FLAGS)})
"""Envoy's response flags: the short name of the access log, and the bit of the `response.flags` attribute."""


def provenance(fields: Fields) -> Origin:
    """What the header says; `Origin()`, which knows nothing, where there is none that Envoy wrote.

    An origin that is not Envoy's listener tells nothing of itself, and then an answer is judged by its
    status alone.
    """
    found = values(fields, PROVENANCE)
    parts = found[0].decode("latin-1").split(" ", 3) if len(found) == 1 else []
    if len(parts) < 3 or not _is_count(parts[1]):
        return Origin()
    flags, attempts, details, *address = parts
    bits = sum({FLAGS.get(flag, 0) for flag in flags.split(",")})
    return Origin(_told(details), bits, _told("".join(address)), int(attempts))


def without_provenance(fields: Fields) -> Fields:
    """The fields less the header."""
    return tuple(field for field in fields if field[0] != PROVENANCE)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _ATTEMPTS_DIGITS


def _told(text: str) -> str | None:
    return None if text in ("", _NOTHING) else text
