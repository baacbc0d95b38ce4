"""Path globs, host patterns, and which policy a request falls under."""

import pytest

from sidecar.idempotency.patterns import HostPattern, PathPattern
from sidecar.idempotency.policy import Match, Mode, Policies, Policy

PATHS = [
    ("/v1/payments", "/v1/payments", True),
    ("/v1/payments", "/v1/payments/", False),
    ("/v1/payments", "/v1/payment", False),
    ("/v1/payments", "/v1/paymentss", False),
    ("/v1/payments", "/V1/payments", False),
    ("/v1/payments/*", "/v1/payments/42", True),
    ("/v1/payments/*", "/v1/payments/", True),
    ("/v1/payments/*", "/v1/payments", False),
    ("/v1/payments/*", "/v1/payments/42/refunds", False),
    ("/v1/*/refunds", "/v1/payments/refunds", True),
    ("/v1/*/refunds", "/v1/a/b/refunds", False),
    ("/v1/pay*", "/v1/payments", True),
    ("/v1/pay*", "/v1/pay/ments", False),
    ("/v1/payments/**", "/v1/payments", True),
    ("/v1/payments/**", "/v1/payments/", True),
    ("/v1/payments/**", "/v1/payments/42", True),
    ("/v1/payments/**", "/v1/payments/42/refunds/7", True),
    ("/v1/payments/**", "/v1/paymentsandmore", False),
    ("/v1/**/refunds", "/v1/a/b/refunds", True),
    ("/v1/**/refunds", "/v1/a/refunds", True),
    ("/**", "/", True),
    ("/**", "", True),
    ("/**", "/anything/at/all", True),
    ("**", "/anything", True),
    ("**", "", True),
    ("/a.b", "/a.b", True),
    ("/a.b", "/aXb", False),
    ("/a+b(c)[d]{e}^$|", "/a+b(c)[d]{e}^$|", True),
    ("/a?b", "/a?b", True),
    ("/a?b", "/b", False),
    ("/a b", "/a b", True),
    ("/**", "/with\nnewline", True),
    ("/a", "/a\n", False),
    ("", "", True),
    ("", "/", False),
]


@pytest.mark.parametrize(("glob", "path", "covered"), PATHS)
def test_a_glob_covers_the_whole_path_or_nothing(glob: str, path: str, covered: bool) -> None:
    assert PathPattern(glob).matches(path) is covered


HOSTS = [
    ("api.example", "api.example", True),
    ("api.example", "API.Example", True),
    ("API.example", "api.EXAMPLE", True),
    ("api.example", "api.example:8443", True),
    ("api.example", "api.example:", False),
    ("api.example", "api.example:port", False),
    ("api.example", "apiXexample", False),
    ("api.example", "my.api.example", False),
    ("api.example", "api.example.evil", False),
    ("api.example", "", False),
    ("api.example:8443", "api.example:8443", True),
    ("api.example:8443", "api.example", False),
    ("api.example:8443", "api.example:84430", False),
    ("*.example", "api.example", True),
    ("*.example", "a.b.example", True),
    ("*.example", "api.example:8443", True),
    ("*.example", "example", False),
    ("*.example", ".example", False),
    ("*.example", "badexample", False),
    ("*.example", "api.example.evil", False),
    ("*.example", "evil:1.example", False),
    ("*.example:8443", "api.example:8443", True),
    ("*.example:8443", "api.example", False),
    ("[::1]", "[::1]", True),
    ("[::1]", "[::1]:8080", True),
    ("[::1]:8080", "[::1]", False),
]


@pytest.mark.parametrize(("pattern", "authority", "covered"), HOSTS)
def test_a_host_pattern_covers_an_authority(pattern: str, authority: str, covered: bool) -> None:
    assert HostPattern(pattern).matches(authority) is covered


def test_patterns_of_the_same_text_are_equal() -> None:
    assert PathPattern("/a/**") == PathPattern("/a/**")
    assert HostPattern("a.example") != HostPattern("b.example")


PAYMENTS = Policy(
    "payments", Match(frozenset({"POST"}), (HostPattern("a.example"),), (PathPattern("/pay/**"),))
)


@pytest.mark.parametrize(
    ("method", "authority", "path", "meant"),
    [
        ("POST", "a.example", "/pay/1", True),
        ("GET", "a.example", "/pay/1", False),
        ("post", "a.example", "/pay/1", True),
        ("pOsT", "a.example", "/pay/1", True),
        ("POSTS", "a.example", "/pay/1", False),
        ("POST", "b.example", "/pay/1", False),
        ("POST", "a.example", "/refund", False),
    ],
)
def test_method_host_and_path_must_all_match(method: str, authority: str, path: str, meant: bool) -> None:
    assert PAYMENTS.match.matches(method, authority, path) is meant


def test_an_empty_part_matches_everything() -> None:
    assert Match().matches("BREW", "", "/teapot")


def test_one_of_several_hosts_and_paths_is_enough() -> None:
    match = Match(
        hosts=(HostPattern("a.example"), HostPattern("b.example")),
        paths=(PathPattern("/x"), PathPattern("/y")),
    )

    assert match.matches("GET", "b.example", "/y")
    assert not match.matches("GET", "b.example", "/z")


def test_the_first_policy_that_matches_is_the_one_that_counts() -> None:
    everything = Policy("everything", Match())
    policies = Policies((PAYMENTS, everything))

    assert policies.select("POST", "a.example", "/pay") is PAYMENTS
    assert policies.select("GET", "a.example", "/pay") is everything
    assert Policies((everything, PAYMENTS)).select("POST", "a.example", "/pay") is everything


def test_what_matches_no_policy_is_untouched() -> None:
    assert Policies((PAYMENTS,)).select("GET", "a.example", "/pay") is None
    assert Policies(()).select("POST", "a.example", "/pay") is None


def test_a_policy_switched_off_shields_its_requests_from_later_ones() -> None:
    off = Policy("off", Match(paths=(PathPattern("/pay"),)), mode=Mode.OFF)
    policies = Policies((off, Policy("everything", Match())))

    assert policies.select("POST", "a.example", "/pay") is None
    assert policies.select("POST", "a.example", "/other") is not None


def test_the_default_policy_is_for_post_and_patch() -> None:
    policies = Policies((Policy("default"),))

    meant = [m for m in ("GET", "HEAD", "PUT", "DELETE", "POST", "PATCH") if policies.select(m, "a", "/")]
    assert meant == ["POST", "PATCH"]
