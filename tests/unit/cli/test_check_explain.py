"""`check FILE --explain 'METHOD URL'`: which policy a request meets, why, and what becomes of it."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from sidecar.cli.check import check

FILE = "tests/configs/good/keys-anywhere.yaml"
OTHERS = """
policies:
  - {name: reads, mode: off, match: {methods: [], paths: ["/read/**"]}}
  - name: payments
    match: {hosts: [api.example.com], paths: ["/v1/payments/**"]}
    key: {required: true, format: strict}
  - {name: watched, mode: shadow, match: {paths: ["/watched"]}, fingerprint: {query: false, body: none}}
  - {name: rest, match: {methods: [PUT]}}
"""


@pytest.fixture
def others(tmp_path: Path) -> str:
    file = tmp_path / "others.yaml"
    file.write_text(OTHERS)
    return str(file)


def run(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(check)
    return CliRunner().invoke(app, arguments)


def explained(file: str, request: str, *more: str) -> dict[str, Any]:
    result = run(file, "--explain", request, "--json", *more)
    assert (result.exit_code, result.stderr) == (0, "")
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def test_a_person_reads_what_applies_and_why_and_what_becomes_of_the_request() -> None:
    result = run(FILE, "--explain", "POST https://api.example.com/hooks/x?requestId=1")

    assert result.exit_code == 0
    *head, scope, fingerprint = result.stdout.splitlines()
    assert head == [
        "request     POST api.example.com/hooks/x?requestId=1",
        'policy      tools does not apply: route is not known, not "mcp-tools"; path is /hooks/x, not /mcp',
        "policy      links applies: all of its match holds",
        "so it       is protected: it has a key, of length 1",
        "key         query parameter requestId, at most 255 characters",
        "no key      passes untouched",
    ]
    assert scope == (
        "scope       peer (known to Envoy alone), metadata:envoy.filters.http.ext_authz.User "
        "(known to Envoy alone), header:x-tenant (absent, which is a scope of its own)"
    )
    assert fingerprint == (
        "same if     equal in method and path, query, header content-type, "
        "body (the fields of a form in any order)"
    )


def test_a_route_is_known_where_it_is_told() -> None:
    answer = explained(FILE, "POST https://a.example/mcp", "--route", "mcp-tools")

    assert answer["policy"] == "tools"
    assert answer["considered"] == [{"policy": "tools", "because": [], "applies": True}]
    assert answer["request"] == 'POST a.example/mcp on the route "mcp-tools"'
    assert answer["key"] == "member /params/_meta/idempotencyKey of a JSON body, at most 64 characters"
    assert answer["verdict"] == "is protected if its body has a key"
    assert answer["without_key"] == "refused with 400 key-missing"
    assert answer["fingerprint"][-1] == "body (what its JSON means, without /id and /params/_meta)"
    assert "query, its parameters in any order" in answer["fingerprint"]


def test_a_derived_key_is_always_there() -> None:
    answer = explained(FILE, "POST https://a.example/repeat")

    assert answer["policy"] == "repeats"
    assert answer["verdict"] == (
        "passes untouched, watched: with enforce, it is protected, whatever it is: its key is made of it"
    )
    assert answer["key"] == "derived from what the fingerprint takes, for 10m"
    assert answer["without_key"] == "cannot be: every request has one"


def test_what_meets_no_policy_passes_and_every_part_that_differs_is_named(others: str) -> None:
    answer = explained(others, "GET http://b.example:8080/v2")

    assert (answer["policy"], answer["key"], answer["scope"]) == (None, "", [])
    assert answer["verdict"] == "passes untouched: no policy is for it"
    assert [considered["because"] for considered in answer["considered"]] == [
        ["path is /v2, not /read/**"],
        [
            "method is GET, not PATCH or POST",
            "host is b.example:8080, not api.example.com",
            "path is /v2, not /v1/payments/**",
        ],
        ["method is GET, not PATCH or POST", "path is /v2, not /watched"],
        ["method is GET, not PUT"],
    ]


def test_a_person_reads_of_no_key_where_no_policy_is_for_the_request(others: str) -> None:
    result = run(others, "--explain", "PUT http://b.example/read/a")

    assert result.stdout.splitlines() == [
        "request     PUT b.example/read/a",
        "policy      reads applies: all of its match holds",
        "so it       passes untouched: reads is off",
    ]


def test_a_policy_that_is_off_ends_the_search(others: str) -> None:
    answer = explained(others, "PUT http://b.example/read/a")

    assert (answer["policy"], answer["verdict"]) == ("reads", "passes untouched: reads is off")


def test_the_path_is_taken_as_envoy_passes_it_on(others: str) -> None:
    answer = explained(others, "POST https://api.example.com//v1/./x/../%70ayments")

    assert answer["request"] == "POST api.example.com/v1/payments"
    assert answer["policy"] == "payments"


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        ((), "is refused with 400 key-missing: "),
        (("idempotency-key: abc",), "is refused with 400 key-invalid: "),
        (('Idempotency-Key: "abc"',), "is protected: it has a key, of length 3"),
        (('Idempotency-Key: "a"', 'Idempotency-Key: "b"'), "is refused with 400 key-invalid: "),
    ],
)
def test_the_headers_that_are_told_decide(others: str, headers: tuple[str, ...], verdict: str) -> None:
    more = [part for header in headers for part in ("--header", header)]
    answer = explained(others, "POST https://api.example.com/v1/payments", *more)

    assert answer["verdict"].startswith(verdict)


def test_a_credential_is_not_shown_only_that_it_is_there(others: str) -> None:
    answer = explained(others, "PUT https://a.example/", "--header", "Authorization: Bearer hunter2")

    assert answer["scope"] == ["header:authorization (given)", "host (a.example)", "method (PUT)", "path (/)"]
    assert "hunter2" not in json.dumps(answer)
    assert answer["verdict"] == "passes untouched: it has no key, and none is required"


def test_what_does_not_count_is_left_out_of_the_fingerprint(others: str) -> None:
    answer = explained(others, "POST https://a.example/watched?a=1")

    assert answer["fingerprint"] == ["method and path", "header content-type"]
    assert answer["verdict"] == (
        "passes untouched, watched: with enforce, it passes untouched: it has no key, and none is required"
    )


@pytest.mark.parametrize(
    "request_text",
    ["", "POST", "POST /path", "https://a.example/", "POST ftp://a/", "POST http://", "POST http://a/b c",
     "POST http://ü/", "POST http://[a/", "POST http://a:x/"],
)  # fmt: skip
def test_what_is_no_request_is_a_usage_error_that_says_what_is(request_text: str) -> None:
    result = run(FILE, "--explain", request_text)

    assert (result.exit_code, result.stdout) == (2, "")
    assert "is not a request; allowed: a method and a URL, such as 'POST https://" in result.stderr


@pytest.mark.parametrize("header", ["Authorization", ": x", "a: \n"])
def test_what_is_no_header_is_a_usage_error_that_says_what_is(header: str) -> None:
    result = run(FILE, "--explain", "POST http://a/", "--header", header)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith(
        "allowed: a name, a colon and a value, such as 'Idempotency-Key: 8e03978e'\n"
    )


@pytest.mark.parametrize("option", [("--header", "a: b"), ("--route", "r")])
def test_a_request_is_described_only_where_it_is_explained(option: tuple[str, str]) -> None:
    result = run(FILE, *option)

    assert result.exit_code == 2
    assert result.stderr.startswith("--header and --route describe a request; ")


def test_a_file_that_is_wrong_explains_nothing() -> None:
    result = run("tests/configs/bad/lease-no-unit.yaml", "--explain", "POST http://a/")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("tests/configs/bad/lease-no-unit.yaml:4: policies[0].lease: ")
