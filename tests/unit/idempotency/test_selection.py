import dataclasses
import time

import pytest

from sidecar.idempotency.patterns import HostPattern, PathPattern
from sidecar.idempotency.policy import Match, Mode, Policies, Policy
from sidecar.idempotency.selection import Selection

WRITES = frozenset({"POST"})
REQUESTS = 300


def by_path(*globs: str) -> Policy:
    return Policy(globs[0], Match(paths=tuple(map(PathPattern, globs))))


def by_host(*hosts: str) -> Policy:
    return Policy(hosts[0], Match(hosts=tuple(map(HostPattern, hosts))))


def many(count: int) -> Policies:
    """Policies for services of their own, and one for the rest."""
    services = [
        Policy(f"service-{n}", Match(WRITES, (), (PathPattern(f"/v1/s{n}/**"),))) for n in range(count - 1)
    ]
    return Policies((*services, Policy("rest", Match(WRITES))))


def candidates(policies: Policies, authority: str, path: str, route: str = "") -> list[str]:
    """The names of the policies that the index finds."""
    wanted = [(policy.match.route, policy.match.hosts, policy.match.paths) for policy in policies.policies]
    return [policies.policies[place].name for place in Selection(wanted).candidates(authority, path, route)]


def filled(*policies: Policy) -> Policies:
    """These, and enough that never match for an index to be asked."""
    return Policies((*policies, *(Policy(f"never-{n}", Match(route=f"never-{n}")) for n in range(5))))


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every path that a `match` was asked about."""
    asked: list[str] = []
    matches = Match.matches

    def counted(match: Match, method: str, authority: str, path: str, route: str = "") -> bool:
        asked.append(path)
        return matches(match, method, authority, path, route)

    monkeypatch.setattr(Match, "matches", counted)
    return asked


def test_a_thousand_policies_are_compared_no_more_often_than_ten(compared: list[str]) -> None:
    costs = []
    for count in (10, 1_000):
        policies, started = many(count), time.perf_counter()
        for n in range(REQUESTS):
            assert (
                policies.select("POST", "a.example", f"/v1/s{n % 9}/orders/{n}") is policies.policies[n % 9]
            )
            assert policies.select("POST", "a.example", f"/v2/{n}") is policies.policies[-1]
        took_us = (time.perf_counter() - started) / REQUESTS / 2 * 1e6
        print(f"{count} policies: {took_us:.2f} us a request")  # noqa: T201 (a figure for whoever runs it)
        costs.append(len(compared))
        compared.clear()

    assert costs[0] == costs[1] == 2 * REQUESTS


def test_the_first_of_several_that_match_counts_wherever_it_is_found() -> None:
    policies = filled(
        by_path("/v1/*/captures"), by_host("*.example"), by_path("/v1/payments/**"), Policy("all", Match())
    )

    assert policies.select("POST", "a.example", "/v1/payments/captures") is policies.policies[0]
    assert policies.select("POST", "a.example", "/v1/payments/7") is policies.policies[1]
    assert policies.select("POST", "example", "/v1/payments/7") is policies.policies[2]
    assert policies.select("POST", "example", "/") is policies.policies[3]


def test_a_policy_that_is_off_hides_what_follows_it() -> None:
    off = dataclasses.replace(by_path("/v1/health"), mode=Mode.OFF)

    assert filled(off, Policy("all", Match())).select("POST", "a", "/v1/health") is None


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("/v1/payments", "/v1/payments"),
        ("/v1/payments/", "/v1/payments/"),
        ("/v1/payments/**", "/v1/payments"),
        ("/v1/payments/**", "/v1/payments/7"),
        ("/v1/pay*", "/v1/payments"),
        ("/**", "/"),
        ("**", "/v1"),
        ("*", "odd"),
        ("odd", "odd"),
        ("/", "/"),
        ("//", "//"),
    ],
)
def test_a_path_that_a_glob_covers_is_found(glob: str, path: str) -> None:
    assert PathPattern(glob).matches(path)
    assert candidates(filled(by_path(glob)), "a", path) == [glob]


@pytest.mark.parametrize("path", ["/v1", "/v1/paymentsx", "/v2/payments", "/", ""])
def test_a_path_that_begins_otherwise_is_not_looked_at(path: str) -> None:
    assert candidates(filled(by_path("/v1/payments/**")), "a", path) == []


@pytest.mark.parametrize(
    ("host", "authority"),
    [
        ("a.example", "A.Example:8443"),
        ("a.example:80", "a.example:80"),
        ("*.example", "x.y.example"),
        ("*.example:80", "x.example:80"),
        ("[::1]", "[::1]:80"),
        ("straße.example", "straße.example"),
    ],
)
def test_a_host_that_a_pattern_covers_is_found(host: str, authority: str) -> None:
    assert HostPattern(host).matches(authority)
    assert candidates(filled(by_host(host)), authority, "/") == [host]


@pytest.mark.parametrize("authority", ["b.example", "example", "a.example.org", "", "."])
def test_another_host_is_not_looked_at(authority: str) -> None:
    assert candidates(filled(by_host("a.example", "*.a.example")), authority, "/") == []


def test_a_policy_for_a_route_is_looked_at_in_that_route_alone() -> None:
    policies = filled(Policy("refunds", Match(route="refunds")), Policy("all", Match()))

    assert candidates(policies, "a", "/", "refunds") == ["refunds", "all"]
    assert candidates(policies, "a", "/", "other") == candidates(policies, "a", "/") == ["all"]


def test_a_policy_that_is_found_in_several_ways_is_looked_at_once() -> None:
    both = Policy(
        "both",
        Match(
            hosts=(HostPattern("*.b.c"), HostPattern("a.b.c")),
            paths=(PathPattern("/x/**"), PathPattern("/**")),
        ),
    )

    assert candidates(filled(both), "a.b.c", "/x/y") == ["both"]


def test_slashes_and_dots_beyond_what_policies_have_cost_nothing_more() -> None:
    class Counting(str):
        """Counts the cuts that are made of it."""

        cuts = 0
        __slots__ = ()

        def __getitem__(self, key: object) -> str:
            Counting.cuts += 1
            return str(self)[key]  # type: ignore[index] # whatever it is cut with

    policies = filled(by_path("/a/b/**"), by_host("*.b.example"))
    wanted = [(policy.match.route, policy.match.hosts, policy.match.paths) for policy in policies.policies]

    Selection(wanted).candidates("a." * 5_000 + "b.example", Counting("/a/b" + "/c" * 50_000), "")

    assert Counting.cuts <= 6


def test_another_spelling_of_a_path_does_not_evade_its_policy() -> None:
    policies = filled(by_path("/v1/payments"))

    for path in ("//v1/payments", "/v1/./payments", "/v1/%70ayments", "/x/../v1/payments", "\\v1\\payments"):
        assert policies.select("POST", "a", path) is policies.policies[0]


def test_a_policy_asked_for_by_name_is_alone_and_always_the_same() -> None:
    policies = Policies((by_path("/a"), by_path("/b")))

    alone = policies.named("/b")

    assert alone == Policies((policies.policies[1],))
    assert policies.named("/b") is alone
    assert alone is not None
    assert alone.named("/b") is alone
    assert policies.named("/c") is None


def test_sets_of_equal_policies_are_equal_and_show_their_policies_alone() -> None:
    assert many(20) == many(20)
    assert many(20) != many(21)
    assert repr(Policies(())) == "Policies(policies=())"
