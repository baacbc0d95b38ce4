import time

import pytest

from sidecar.idempotency.paths import normalise


@pytest.mark.parametrize(
    "path",
    ["/", "/v1/payments/7", "/v1/payments/", "/a.b/c..", "/a;x=1/b:c@d", "/~a-b_c", "/a[0]$!&'()*+,=", ""],
)
def test_a_path_with_nothing_to_do_is_given_back(path: str) -> None:
    assert normalise(path) is path


@pytest.mark.parametrize(
    ("path", "normalised"),
    [
        ("/a//b///c", "/a/b/c"),
        ("/a//", "/a/"),
        ("//a", "/a"),
        ("//", "//"),
        ("///", "//"),
    ],
)
def test_slashes_are_merged_save_where_there_is_nothing_else(path: str, normalised: str) -> None:
    assert normalise(path) == normalised


@pytest.mark.parametrize(
    ("path", "normalised"),
    [
        ("/.", "/"),
        ("/./a", "/a"),
        ("/a/.", "/a/"),
        ("/..", "/"),
        ("/../a", "/a"),
        ("/a/..", "/"),
        ("/a/b/..", "/a/"),
        ("/a/b/../../../c", "/c"),
        ("/a//../b", "/a/b"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/.well-known/x", "/.well-known/x"),
        ("/a/...", "/a/..."),
        ("/a/..;/b", "/b"),
        ("/a/.;x=1/b", "/a/b"),
        ("/a/%2e.;x/b", "/a/..;x/b"),
        ("/a/...;x", "/a/...;x"),
    ],
)
def test_dot_segments_are_resolved_before_slashes_are_merged(path: str, normalised: str) -> None:
    assert normalise(path) == normalised


@pytest.mark.parametrize(
    ("path", "normalised"),
    [
        ("/%41%7a%30%2D%5f%7E%2e", "/Az0-_~."),
        ("/a%20%25%3f%23%3B", "/a%20%25%3f%23%3B"),
        ("/%C3%a9", "/%C3%a9"),
        ("/a%2Fb%5c", "/a%2Fb%5c"),
        ('/{"a"}', "/%7B%22a%22%7D"),
        ("/<a>^`|", "/%3Ca%3E%5E%60%7C"),
        ("/a\\..\\b", "/b"),
        ("/%", "/%"),
        ("/%zz%4", "/%zz%4"),
    ],
)
def test_only_what_needs_an_escape_has_one(path: str, normalised: str) -> None:
    assert normalise(path) == normalised


@pytest.mark.parametrize(
    ("path", "normalised"),
    [("/%4%31", "/%2541"), ("/%%341", "/%2541"), ("/%%34%31", "/%2541"), ("/%%41", "/%A")],
)
def test_no_escape_comes_about_that_the_client_did_not_write(path: str, normalised: str) -> None:
    assert normalise(path) == normalised


@pytest.mark.parametrize("path", ["*", "shop.example:443", "a//b"])
def test_what_is_no_path_stays_what_it_is(path: str) -> None:
    assert normalise(path) == path


@pytest.mark.parametrize("piece", ["/", "/..", "/.", "%", "%4", "\\", "%2e/", "{"])
def test_no_path_takes_more_than_linear_time(piece: str) -> None:
    started = time.process_time()

    normalise("/" + piece * 20_000)

    assert time.process_time() - started < 1
