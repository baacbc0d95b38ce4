"""The regular expressions of patterns agree with a matcher written another way."""

import re

from hypothesis import given
from hypothesis import strategies as st

from sidecar.idempotency.patterns import HostPattern, PathPattern

GLOBS = st.lists(st.sampled_from(["/", "a", "b", ".", "*", "**", "/**"]), max_size=6).map("".join)
PATHS = st.text("/ab.", max_size=8)


def covers(glob: str, path: str) -> bool:
    """Whether a glob covers a path, by trying out every length a wildcard can have."""
    if not glob:
        return not path
    if glob.startswith("/**") and len(glob) == len("/**"):
        return not path or path.startswith("/")
    if glob.startswith("**"):
        return any(covers(glob[2:], path[length:]) for length in range(len(path) + 1))
    if glob.startswith("*"):
        longest = path.partition("/")[0]
        return any(covers(glob[1:], path[length:]) for length in range(len(longest) + 1))
    return path[:1] == glob[0] and covers(glob[1:], path[1:])


@given(GLOBS, PATHS)
def test_a_glob_agrees_with_the_matcher_that_tries_everything_out(glob: str, path: str) -> None:
    assert PathPattern(glob).matches(path) is covers(glob, path)


@given(st.text(st.characters(exclude_characters="*", max_codepoint=0xFF), max_size=10), PATHS)
def test_a_pattern_without_wildcards_covers_itself_alone(path: str, other: str) -> None:
    assert PathPattern(path).matches(path)
    assert PathPattern(path).matches(other) is (path == other)


LABELS = st.sampled_from(["a", "b", "example", "A", "Example"])
NAMES = st.lists(LABELS, min_size=1, max_size=3).map(".".join)
PORTS = st.sampled_from(["", ":80", ":8443"])
AUTHORITIES = st.builds(str.__add__, NAMES, PORTS)
HOSTS = st.builds(lambda star, name, port: star + name + port, st.sampled_from(["", "*."]), NAMES, PORTS)


def covers_host(pattern: str, authority: str) -> bool:
    """By splitting and comparing."""
    host, _, port = pattern.lower().partition(":")
    given_host, _, given_port = authority.lower().partition(":")
    if port and port != given_port:
        return False
    if not host.startswith("*."):
        return host == given_host
    return given_host.endswith(host[1:]) and len(given_host) > len(host[1:])


@given(HOSTS, AUTHORITIES)
def test_a_host_pattern_agrees_with_the_matcher_that_splits(pattern: str, authority: str) -> None:
    assert HostPattern(pattern).matches(authority) is covers_host(pattern, authority)


@given(HOSTS)
def test_case_never_counts_in_a_host(pattern: str) -> None:
    authority = pattern.replace("*", "x")

    assert HostPattern(pattern.upper()).matches(authority.lower())
    assert HostPattern(pattern.lower()).matches(authority.upper())


RE2_LACKS = re.compile(r"\(\?[=!<]|\\[1-9]|\(\?P=|\(\?\(|[*+?}]\+|\(\?>")
"""Lookaround, back-references, conditionals, possessive and atomic groups."""


@given(st.text(st.characters(max_codepoint=0x7E, min_codepoint=0x20), max_size=12))
def test_no_pattern_needs_more_than_re2_has(text: str) -> None:
    literal = re.compile(r"\\.")

    assert not RE2_LACKS.search(literal.sub("x", PathPattern(text).regex))
    assert not RE2_LACKS.search(literal.sub("x", HostPattern(text).regex))
