"""What answers tell clients of a policy."""

import pytest

from sidecar.idempotency.advertising import advertised, described_by, with_advertised

DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
"""The date that RFC 9110 §5.6.7 gives as an example."""


@pytest.mark.parametrize("expires_ms", [784_111_777_000, 784_111_777_999])
def test_the_date_has_whole_seconds_and_is_never_later(expires_ms: int) -> None:
    assert advertised(expires_ms, None) == (("idempotency-expires", DATE),)


def test_a_policy_with_documentation_links_to_it() -> None:
    link = ("link", b'<https://docs.example/keys>; rel="describedby"')

    assert advertised(784_111_777_000, "https://docs.example/keys") == (("idempotency-expires", DATE), link)
    assert described_by(None) == ()


def test_what_the_sidecar_tells_of_expiry_replaces_what_the_upstream_says() -> None:
    theirs = (("idempotency-expires", b"never"), ("link", b"<a>"))
    ours = (("idempotency-expires", DATE), ("link", b"<b>"))

    assert with_advertised(theirs, ours) == (("link", b"<a>"), *ours)
    assert with_advertised(theirs, ()) == theirs
