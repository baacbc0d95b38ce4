"""Which requests are protected, where their key stands, what clients are told; through a real Envoy."""

import uuid
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx
import pytest

from tests.e2e.fleet import wait_until
from tests.e2e.policy_scene import JSON, Scene, assert_problem, at, is_replay, sha256

# --- Which requests


def test_a_policy_may_be_for_a_route_by_its_name(scene: Scene) -> None:
    assert_problem(scene.post(at("special")), 400, "key-missing")
    assert scene.post(at("other")).status_code == 201


def test_a_route_may_name_the_policy_for_its_requests(scene: Scene) -> None:
    refused = scene.post(at("by-name"))

    assert_problem(refused, 400, "key-missing")
    assert "x-second" in refused.json()["detail"]


def test_a_policy_that_is_off_protects_nothing(scene: Scene) -> None:
    target, key = at("off"), {"idempotency-key": "k"}

    assert not any(is_replay(scene.post(target, headers=key)) for _ in range(2))
    assert scene.upstream.times(target) == 2


# --- Where the key stands


def test_a_key_in_the_query_counts_once_and_not_twice(scene: Scene) -> None:
    target = at("query")

    answers = [scene.post(f"{target}?key=%6b1&b=2") for _ in range(2)]

    assert [is_replay(answer) for answer in answers] == [False, True]
    assert_problem(scene.post(f"{target}?key=k1&b=3"), 422, "key-reused")
    assert_problem(scene.post(f"{target}?key=k1&key=k2"), 400, "key-invalid")
    assert scene.post(f"{target}?b=2").status_code == 201


def call(key: object, **params: object) -> bytes:
    """A JSON-RPC call as MCP has them, with its key where MCP puts what is about a request."""
    document = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "pay",
        "params": {**params, "_meta": {"idempotencyKey": key}},
    }
    return httpx.Request("POST", "http://x", json=document).content


def test_a_key_in_the_body_counts_and_the_body_arrives_as_it_was_sent(scene: Scene) -> None:
    target, body = at("rpc"), call(uuid.uuid4().hex, amount=7)

    answers = [scene.post(target, content=body, headers=JSON) for _ in range(2)]

    assert [(answer.status_code, is_replay(answer)) for answer in answers] == [(201, False), (201, True)]
    assert scene.upstream.times(target) == 1
    assert scene.upstream.last(target).sha256 == sha256(body)
    assert scene.upstream.last(target).header("idempotency-attempt") == ["1"]


def test_a_body_without_the_key_passes_as_it_was_sent(scene: Scene) -> None:
    target, large = at("rpc"), b'{"data": "' + b"x" * 200_000 + b'"}'

    answers = [
        scene.post(target, content=large, headers={**JSON, "idempotency-attempt": "9"}) for _ in range(2)
    ]

    assert [answer.status_code for answer in answers] == [201, 201]
    assert scene.upstream.times(target) == 2
    assert scene.upstream.last(target).sha256 == sha256(large)
    assert scene.upstream.last(target).header("idempotency-attempt") == []


def test_a_body_that_cannot_be_read_is_refused_and_says_where(scene: Scene) -> None:
    refused = scene.post(at("rpc"), content=b'{"params": {,}}', headers=JSON)

    assert_problem(refused, 400, "body-invalid")
    assert "line 1, column 13" in refused.json()["detail"]
    assert_problem(scene.post(at("rpc-required"), content=b"{}", headers=JSON), 400, "key-missing")
    assert_problem(scene.post(at("rpc"), content=call(7), headers=JSON), 400, "key-invalid")


def test_equal_requests_without_any_key_are_one_where_it_is_derived(scene: Scene) -> None:
    target = at("derived")

    answers = [
        scene.post(target, content=body, headers=JSON)
        for body in (b'{"a": 1, "b": 2}', b'{"b":2,"a":1.0}', b'{"a": 1, "b": 3}')
    ]

    assert [is_replay(answer) for answer in answers] == [False, True, False]
    assert scene.upstream.times(target) == 2


def test_they_are_one_only_as_long_as_the_window_says(scene: Scene) -> None:
    target = at("brief")

    scene.post(target)
    assert is_replay(scene.post(target))
    wait_until(lambda: not is_replay(scene.post(target)), "the window is over", within_s=10)

    assert scene.upstream.times(target) == 2


# --- Which requests, by host, method and path


@pytest.mark.parametrize(
    ("host", "protected"),
    [
        ("api.example", True),
        ("API.example:8443", True),
        ("a.shop.example", True),
        ("a.b.shop.example", True),
        ("shop.example", False),
        ("other.example", False),
    ],
)
def test_a_policy_is_for_the_hosts_that_it_names(scene: Scene, host: str, *, protected: bool) -> None:
    target, headers = at("site"), {"idempotency-key": "k", "host": host}

    answers = [scene.post(target, headers=headers) for _ in range(2)]

    assert [is_replay(answer) for answer in answers] == [False, protected]


@pytest.mark.parametrize(
    ("method", "rest", "protected"),
    [("PUT", "item", True), ("POST", "item", False), ("PUT", "items", False), ("PUT", "a/item", False)],
)
def test_a_policy_is_for_its_methods_and_paths(
    scene: Scene, method: str, rest: str, *, protected: bool
) -> None:
    url = f"{scene.fleet.url}{at('read')}/{rest}"

    answers = [httpx.request(method, url, headers={"idempotency-key": "k"}) for _ in range(2)]

    assert [is_replay(answer) for answer in answers] == [False, protected]


# --- Limits


def test_a_key_may_be_as_long_as_the_policy_says_and_no_longer(scene: Scene) -> None:
    target = at("short")

    assert scene.post(target, headers={"idempotency-key": '"12345678"'}).status_code == 201
    refused = scene.post(target, headers={"idempotency-key": '"123456789"'})

    assert_problem(refused, 400, "key-invalid")
    assert scene.upstream.times(target) == 1


def test_a_key_is_remembered_for_the_ttl_and_then_executes_again(scene: Scene) -> None:
    target, key = at("forgetful"), {"idempotency-key": "k"}

    scene.post(target, headers=key)
    assert is_replay(scene.post(target, headers=key))
    wait_until(lambda: not is_replay(scene.post(target, headers=key)), "the ttl is over", within_s=10)

    assert scene.upstream.times(target) == 2


def test_a_body_that_has_to_be_understood_is_refused_beyond_the_limit(scene: Scene) -> None:
    target, headers = at("bounded"), {**JSON, "idempotency-key": "k"}

    fits = scene.post(target, content=b'"' + b"x" * 1022 + b'"', headers=headers)
    too_large = scene.post(target, content=b'"' + b"x" * 1023 + b'"', headers=headers)

    assert fits.status_code == 201
    assert_problem(too_large, 413, "body-too-large")
    assert scene.upstream.times(target) == 1


# --- What clients are told


def test_answers_say_until_when_they_are_kept_and_where_to_read_about_it(scene: Scene) -> None:
    target, key = at("telling"), {"idempotency-key": "k"}

    answers = [scene.post(target, headers=key) for _ in range(2)]

    assert [is_replay(answer) for answer in answers] == [False, True]
    for answer in answers:
        expires = parsedate_to_datetime(answer.headers["idempotency-expires"])
        left = expires - datetime.now(UTC)
        assert timedelta(minutes=59) < left <= timedelta(hours=1, seconds=1)
        assert answer.headers["link"] == '<https://docs.example/keys>; rel="describedby"'


# --- Watched only


def test_in_shadow_everything_executes_and_what_would_have_been_is_counted(scene: Scene) -> None:
    target, key = at("shadow"), uuid.uuid4().hex
    before = {
        name: scene.counted("shadow", f"shadow_{name}")
        for name in ("executed", "replayed", "key_reused", "key_missing")
    }

    def post(content: bytes) -> httpx.Response:
        headers = {"idempotency-key": key, "idempotency-attempt": "7"}
        answer = scene.post(target, content=content, headers=headers)
        wait_until(lambda: _settled(scene), "the sidecar has seen it end", within_s=5)
        return answer

    answers = [post(b"a"), post(b"a"), post(b"b"), scene.post(target, content=b"a")]

    assert [answer.status_code for answer in answers] == [201] * 4
    assert not any(is_replay(answer) for answer in answers)
    assert scene.upstream.times(target) == 4
    assert scene.upstream.last(target).header("idempotency-attempt") == []
    counted = {name: scene.counted("shadow", f"shadow_{name}") - was for name, was in before.items()}
    assert counted == {"executed": 1, "replayed": 1, "key_reused": 1, "key_missing": 1}


def _settled(scene: Scene) -> bool:
    return sum(scene.fleet.metric("idempotency_in_flight").values()) == 0
