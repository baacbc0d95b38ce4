import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.idempotency.patterns import HostPattern, PathPattern
from sidecar.idempotency.policy import Match, Mode, Policies, Policy
from sidecar.openapi.covering import Coverage, Extent, coverage, extent
from sidecar.openapi.specification import Operation

ANY = Match()


def paths(*globs: str) -> Match:
    return Match(paths=tuple(map(PathPattern, globs)))


def operation(path: str = "/orders", method: str = "post", *urls: str) -> Operation:
    return Operation(path, method, urls or ("/",), frozenset())


def covered(policies: list[Policy], described: Operation) -> Coverage:
    return coverage(Policies(tuple(policies)), described)


@pytest.mark.parametrize(
    ("glob", "template", "expected"),
    [
        ("/orders", "/orders", Extent.ALL),
        ("/orders", "/orders/{id}", Extent.NOTHING),
        ("/orders/**", "/orders", Extent.ALL),
        ("/orders/**", "/orders/{id}/items/{item}", Extent.ALL),
        ("/orders/*", "/orders/{id}", Extent.ALL),
        ("/orders/*", "/orders/{id}/items", Extent.NOTHING),
        ("/orders/42", "/orders/{id}", Extent.SOME),
        ("/orders/a-*", "/orders/{id}", Extent.SOME),
        ("/orders/a-*", "/orders/a-{id}", Extent.ALL),
        ("/orders/a-*", "/orders/b-{id}", Extent.NOTHING),
        ("/*/refunds", "/{kind}/{id}", Extent.SOME),
        ("/**/refunds", "/a/{id}/refunds", Extent.ALL),
        ("/orders/", "/orders/{id}", Extent.NOTHING),
    ],
)
def test_a_template_is_covered_by_what_it_can_be(glob: str, template: str, expected: Extent) -> None:
    assert extent(paths(glob), "POST", None, template) is expected


@pytest.mark.parametrize(
    ("match", "authority", "expected"),
    [
        (ANY, None, Extent.ALL),
        (Match(methods=frozenset({"PATCH"})), None, Extent.NOTHING),
        (Match(hosts=(HostPattern("*.shop.example"),)), "api.shop.example:8443", Extent.ALL),
        (Match(hosts=(HostPattern("shop.example"),)), "api.shop.example", Extent.NOTHING),
        (Match(hosts=(HostPattern("shop.example"),)), None, Extent.SOME),
        (Match(route="payments"), None, Extent.SOME),
    ],
)
def test_what_a_description_does_not_know_may_be(
    match: Match, authority: str | None, expected: Extent
) -> None:
    assert extent(match, "POST", authority, "/orders") is expected


def test_the_first_policy_that_covers_all_is_the_only_one() -> None:
    found = covered([Policy("a", match=paths("/orders/**")), Policy("b", match=ANY)], operation())

    assert [policy.name for policy in found.policies] == ["a"]
    assert found.certain


def test_policies_that_cover_some_come_before_one_for_the_rest() -> None:
    some, rest = Policy("some", match=paths("/orders/42")), Policy("rest", match=ANY)

    both = covered([some, rest], operation("/orders/{id}"))
    assert [policy.name for policy in both.policies] == ["some", "rest"]
    assert both.certain
    assert not covered([some], operation("/orders/{id}")).certain


@pytest.mark.parametrize("mode", [Mode.OFF, Mode.SHADOW])
def test_what_does_not_enforce_hides_what_follows(mode: Mode) -> None:
    rest = Policy("rest", match=ANY)

    assert covered([Policy("hides", match=ANY, mode=mode), rest], operation()).policies == ()
    partly = covered([Policy("hides", match=paths("/orders/42"), mode=mode), rest], operation("/orders/{id}"))
    assert [policy.name for policy in partly.policies] == ["rest"]


def test_the_base_path_and_host_of_each_server_count() -> None:
    v1 = Policy("v1", match=paths("/v1/**"))
    here = Policy("here", match=Match(hosts=(HostPattern("a.example"),)))

    assert covered([v1], operation("/orders", "post", "https://a.example/v1/")).certain
    assert covered([v1], operation("/orders", "post", "https://a.example")).policies == ()
    spread = covered([here], operation("/orders", "post", "https://a.example", "https://b.example"))
    assert (len(spread.policies), spread.certain) == (1, False)


_GLOBS = st.lists(st.sampled_from(["a", "b", "/", "*", "**", "/**"]), max_size=5).map(
    lambda parts: "/" + "".join(parts)
)
_TEMPLATES = st.lists(st.sampled_from(["a", "b", "/", "/{x}", "{y}"]), max_size=4).map(
    lambda parts: "/" + "".join(parts)
)
_VALUES = st.text("ab", min_size=1, max_size=3)


@given(_GLOBS, _TEMPLATES, st.lists(_VALUES, min_size=4, max_size=4))
def test_no_path_of_an_operation_contradicts_its_extent(glob: str, template: str, values: list[str]) -> None:
    left = iter(values)
    path = re.sub(r"\{\w\}", lambda _: next(left), template)
    found = extent(paths(glob), "POST", None, template)

    if PathPattern(glob).matches(path):
        assert found is not Extent.NOTHING
    else:
        assert found is not Extent.ALL
