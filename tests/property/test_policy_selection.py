"""The index of policies agrees with trying one policy after the other."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sidecar.idempotency.paths import normalise
from sidecar.idempotency.patterns import HostPattern, PathPattern
from sidecar.idempotency.policy import Match, Mode, Policies, Policy

ROUTES = st.sampled_from(["", "r", "s"])
METHODS = st.sampled_from(["POST", "PATCH"])
GLOBS = st.lists(st.sampled_from(["/", "/a", "/b", "a", "*", "**", "/**", ".", "/a/b"]), max_size=5).map(
    "".join
)
NAMES = st.lists(st.sampled_from(["a", "b", "A", "é", ""]), min_size=1, max_size=4).map(".".join)
PORTS = st.sampled_from(["", "", ":80", ":8443", ":", ":x"])
HOSTS = st.builds(lambda star, name, port: star + name + port, st.sampled_from(["", "*."]), NAMES, PORTS)
PATHS = st.lists(st.sampled_from(["/", "/a", "/b", "a", ".", "%61", "//", "/..", "\\"]), max_size=8).map(
    "".join
)

MATCHES = st.builds(
    Match,
    st.frozensets(METHODS, max_size=2),
    st.lists(HOSTS.map(HostPattern), max_size=2).map(tuple),
    st.lists(GLOBS.map(PathPattern), max_size=3).map(tuple),
    st.none() | ROUTES,
)
POLICIES = st.lists(st.tuples(MATCHES, st.sampled_from(Mode)), max_size=12).map(
    lambda drawn: Policies(tuple(Policy(str(n), match, mode) for n, (match, mode) in enumerate(drawn)))
)


def one_after_the_other(
    policies: Policies, method: str, authority: str, path: str, route: str
) -> Policy | None:
    """The first that matches, in the order in which they were written."""
    for policy in policies.policies:
        if policy.match.matches(method, authority, normalise(path), route):
            return None if policy.mode is Mode.OFF else policy
    return None


@settings(max_examples=500)
@given(POLICIES, METHODS, st.builds(str.__add__, NAMES, PORTS), PATHS, ROUTES)
@example(Policies(()), "POST", "", "", "")
def test_the_index_finds_the_policy_that_is_first_in_order(
    policies: Policies, method: str, authority: str, path: str, route: str
) -> None:
    expected = one_after_the_other(policies, method, authority, path, route)

    assert policies.select(method, authority, path, route) is expected


@given(st.lists(st.sampled_from([*"/\\.%4aF1{", "%41", "%2e", "%2F", "%%", "%34"]), max_size=12).map("".join))
def test_a_path_without_parameters_that_is_normalised_stays_as_it_is(path: str) -> None:
    assert normalise(normalise(path)) == normalise(path)
