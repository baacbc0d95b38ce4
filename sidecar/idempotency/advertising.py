"""What answers tell clients of a policy, where it says so: until when a key is remembered, where to read."""

from datetime import UTC, datetime
from email.utils import format_datetime

from sidecar.idempotency.fields import Fields

EXPIRES = "idempotency-expires"
"""Until when a retry gets this very answer."""


def advertised(expires_ms: int, docs_url: str | None) -> Fields:
    """The fields that are added to an answer: a date (RFC 9110 §5.6.7), and a link (RFC 8288).

    `expires_ms` is in milliseconds since 1970; the date has whole seconds, and is never later.
    """
    date = format_datetime(datetime.fromtimestamp(expires_ms // 1000, UTC), usegmt=True)
    return ((EXPIRES, date.encode()), *described_by(docs_url))


def described_by(docs_url: str | None) -> Fields:
    """The link to what a policy's clients can read about it; nothing where there is none."""
    return (("link", f'<{docs_url}>; rel="describedby"'.encode()),) if docs_url else ()


def with_advertised(headers: Fields, told: Fields) -> Fields:
    """The header fields of an answer, and what it tells: in place of what the upstream says of expiry."""
    if not told:
        return headers
    return (*(field for field in headers if field[0] != EXPIRES), *told)
