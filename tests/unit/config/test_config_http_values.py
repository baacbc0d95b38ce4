"""The kinds of values that HTTP defines, at their edges; the common mistakes are among the bad files."""

import time

import pytest

from sidecar.config import http_values as http
from sidecar.config.errors import RefusedError
from sidecar.config.kinds import Kind
from sidecar.idempotency.grpc import GrpcStatus
from sidecar.idempotency.patterns import PathPattern


def assert_refused(kind: Kind[str], text: str) -> None:
    with pytest.raises(RefusedError) as caught:
        kind.validate(text)
    assert caught.value.message
    assert caught.value.allowed


@pytest.mark.parametrize("text", ["POST", "M-SEARCH", "X!#$%&'*+.^_`|~", "A" * 128])
def test_a_method_is_any_upper_case_token(text: str) -> None:
    assert http.method().validate(text) == text


@pytest.mark.parametrize("text", ["", "Post", "PO/ST", "PÖST", "A" * 129, "POST\n"])
def test_anything_else_is_not_a_method(text: str) -> None:
    assert_refused(http.method(), text)


@pytest.mark.parametrize(
    "text",
    ["a", "localhost:8080", "*.example.com", "*.example.com:8443", "_sip.example", "[::1]", "10.0.0.1:1"],
)
def test_a_host_is_exact_or_a_suffix_with_or_without_a_port(text: str) -> None:
    assert http.host().validate(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "*.",
        "a.*.b",
        "*example.com",
        "a..b",
        "-a.b",
        "a:0",
        "a:",
        "ä.example",
        "a/b",
        "a." * 127 + "com",
        "a\n",
    ],
)
def test_anything_else_is_not_a_host(text: str) -> None:
    assert_refused(http.host(), text)


@pytest.mark.parametrize("text", ["/", "/v1/**", "/**", "/a*b/*/c", "/**/x/y", "/a**b/*/y/**", "/%C3%BC"])
def test_a_path_may_hold_a_few_wildcards(text: str) -> None:
    assert http.path().validate(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "/a b",
        "/a#b",
        "/ü",
        "/\x7f",
        "/" + "a" * 1024,
        "/a*b*c",
        "/***",
        "/**/x/**/y",
        "/**/**/**/a",
        "/a\n",
    ],
)
def test_anything_else_is_not_a_path(text: str) -> None:
    assert_refused(http.path(), text)


@pytest.mark.parametrize(
    ("text", "normal"),
    [("/a//b", "/a/b"), ("/a/./b/../*", "/a/*"), ("/%7Euser/**", "/~user/**"), ("/a/{id}", "/a/%7Bid%7D")],
)
def test_a_path_that_envoy_would_change_first_is_refused_with_what_it_becomes(text: str, normal: str) -> None:
    with pytest.raises(RefusedError) as caught:
        http.path().validate(text)

    assert caught.value.allowed == f'"{normal}"'
    assert http.path().validate(normal) == normal


@pytest.mark.parametrize("text", ["/.well-known/**", "/*.json", "/a%2Fb", "/a/..b", "/", "/**"])
def test_a_path_that_envoy_leaves_alone_is_one_to_match(text: str) -> None:
    assert http.path().validate(text) == text


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("/**/a/*/b/**", "/a" * 30_000),
        ("/a**b", "/a" + "b" * 60_000 + "c"),
        ("/*a/*a/*b", "/" + "a" * 60_000),
    ],
)
def test_no_path_takes_long_against_a_pattern_that_is_allowed(glob: str, path: str) -> None:
    pattern = PathPattern(http.path().validate(glob) or "")

    started = time.process_time()
    assert not pattern.matches(path)
    assert time.process_time() - started < 1, "quadratic would be minutes"


@pytest.mark.parametrize("text", ["x", "Idempotency-Key", "authorization"])
def test_a_header_is_named_by_a_token(text: str) -> None:
    assert http.header_name().validate(text) == text


@pytest.mark.parametrize(
    "text", ["", ":path", "a:b", "HOST", "TE", "Transfer-Encoding", "Idempotent-Replayed", "x\n"]
)
def test_names_that_no_header_of_an_exchange_has_are_refused(text: str) -> None:
    assert_refused(http.header_name(), text)


@pytest.mark.parametrize("text", ["200", "404", "599", "2xx", "5xx"])
def test_an_outcome_is_for_a_final_status_or_a_class_of_them(text: str) -> None:
    assert http.outcome_key().validate(text) == text


@pytest.mark.parametrize("status", GrpcStatus)
def test_an_outcome_is_for_each_status_of_grpc_by_its_name(status: GrpcStatus) -> None:
    assert len(GrpcStatus) == 17
    assert http.outcome_key().validate(f"grpc:{status.name}") == f"grpc:{status.name}"


@pytest.mark.parametrize("text", ["grpc:", "grpc:ok", "grpc:14", "grpc:OK ", "grpc:5xx"])
def test_what_is_no_status_of_grpc_is_refused_with_all_that_are(text: str) -> None:
    with pytest.raises(RefusedError) as refused:
        http.outcome_key().validate(text)

    assert f'"{text}" is no status of gRPC' in refused.value.message
    assert refused.value.allowed.startswith("grpc:OK, grpc:CANCELLED, ")
    assert refused.value.allowed.endswith(" or grpc:UNAUTHENTICATED")


@pytest.mark.parametrize(
    "text", ["", "100", "199", "600", "1xx", "6xx", "5XX", "50x", "5xxx", "OK", "GRPC:OK", "200\n"]
)
def test_an_outcome_is_for_nothing_else(text: str) -> None:
    assert_refused(http.outcome_key(), text)


@pytest.mark.parametrize("text", ["http://a", "https://docs.example.com:8443/errors?a=b#c"])
def test_clients_can_be_pointed_to_a_web_page(text: str) -> None:
    assert http.web_url().validate(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "//a",
        "ftp://a",
        "https://",
        "https://a b",
        "https://a>",
        'https://a"',
        "https://ü",
        "https://u:p@a",
        "https://a:x",
        "https://[a",
        "https://a\r\nb",
    ],
)
def test_what_could_break_out_of_a_link_header_is_not_a_web_page(text: str) -> None:
    assert_refused(http.web_url(), text)
