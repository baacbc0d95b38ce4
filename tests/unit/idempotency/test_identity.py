import pytest

from sidecar.idempotency.context import NOTHING_KNOWN, Context, Json
from sidecar.idempotency.identity import JWT_NAMESPACE, metadata, peer, verified_claim


def verified(**payloads: Json) -> Context:
    """What a jwt_authn filter notes: a payload for each provider."""
    return Context(metadata={JWT_NAMESPACE: payloads})


def test_a_claim_is_that_of_its_issuer_whichever_provider_verified_it() -> None:
    ours = verified(one={"iss": "https://a.example", "sub": "7", "exp": 1})

    assert verified_claim(ours, "sub") == (b'["https://a.example","7"]',)
    assert verified_claim(verified(two={"iss": "https://a.example", "sub": "7"}), "sub") == verified_claim(
        ours, "sub"
    )


def test_two_issuers_may_have_one_subject_and_are_two_callers() -> None:
    ours, theirs = (verified(one={"iss": issuer, "sub": "7"}) for issuer in ("a", "b"))

    assert verified_claim(ours, "sub") != verified_claim(theirs, "sub")


def test_of_several_tokens_each_counts_in_whatever_order() -> None:
    one: Json = {"iss": "a", "sub": "7"}
    other: Json = {"iss": "b", "sub": "8"}

    assert verified_claim(verified(x=one, y=other), "sub") == verified_claim(verified(x=other, y=one), "sub")
    assert len(verified_claim(verified(x=one, y=other), "sub")) == 2


@pytest.mark.parametrize(
    "context", [NOTHING_KNOWN, verified(), verified(one={"iss": "a"}), verified(one="text")]
)
def test_without_the_claim_there_is_no_value(context: Context) -> None:
    assert verified_claim(context, "sub") == ()


@pytest.mark.parametrize("claim", ["", None, 0, False, [], {}, "7", 7.5])
def test_a_claim_of_any_type_is_a_value_unlike_every_other(claim: Json) -> None:
    found = verified_claim(verified(one={"sub": claim}), "sub")

    assert len(found) == 1
    assert found != verified_claim(verified(one={"sub": "null"}), "sub")
    assert found != verified_claim(verified(one={"sub": "0"}), "sub")


def test_a_peer_is_known_by_its_name_and_the_kind_of_it() -> None:
    assert peer(NOTHING_KNOWN) == ()
    assert peer(Context(peer=("uri", "spiffe://a/b"))) == (b"uri", b"spiffe://a/b")
    assert peer(Context(peer=("dns", "a"))) != peer(Context(peer=("subject", "a")))


def test_metadata_is_found_under_a_namespace_with_dots() -> None:
    context = Context(metadata={"envoy.filters.http.ext_authz": {"account": "7"}, "": {"plain": None}})

    assert metadata(context, "envoy.filters.http.ext_authz.account") == (b'"7"',)
    assert metadata(context, "plain") == metadata(context, ".plain") == (b"null",)
    assert metadata(context, "envoy.filters.http.ext_authz.user") == ()
    assert metadata(context, "other.account") == ()
