"""Policies change while requests pass: none fails, each sees one set of them; a bad file changes nothing."""

import itertools
import os
import signal
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import eventually
from tests.e2e.fleet import Load, running_fleet
from tests.stack.up import Up, running_up
from tests.stack.upstream import Answer, Upstream, running_upstream
from tests.stack.valkey import Server

REQUESTS = 500
FLIPS = 3


def policy(name: str, status: int, path: str = "/pay/**") -> str:
    """A policy whose refusals show it twice: by their status, and by their documentation."""
    return (
        "store: {timeout: 5s}\n"  # nothing here is about it, and the machine may be busy
        f"policies:\n  - name: {name}\n    match: {{methods: [POST], paths: ['{path}']}}\n"
        f"    in_progress: {{status: {status}}}\n    docs_url: https://example.com/{name}\n"
    )


ONE, TWO = policy("one", 409), policy("two", 429)
SEEN = {(409, "one"), (429, "two")}


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture
def up(upstream: Upstream, valkey: Server, tmp_path: Path) -> Iterator[Up]:
    origin = f"http://127.0.0.1:{upstream.port}"
    with running_up(origin, tmp_path, "--store", valkey.url, "--workers", "2", config=ONE) as up:
        yield up


def put(up: Up, text: str) -> None:
    """Rename another file over the configuration."""
    another = up.log.with_name("another.yaml")
    another.write_text(text)
    another.replace(up.log.with_name("sidecar.yaml"))


def said(up: Up, words: str) -> int:
    return up.log.read_text().count(words)


def reloads(up: Up, result: str) -> float:
    return up.metric("idempotency_config_reloads_total", result=result)


def post(client: httpx.Client, path: str, key: str) -> httpx.Response:
    return client.post(path, content=b"x", headers={"idempotency-key": f'"{key}"'}, timeout=20)


@contextmanager
def call_in_progress(up: Up, upstream: Upstream, key: str) -> Iterator[None]:
    """A first request with this key that is still with the upstream; it has to succeed in the end."""
    release = threading.Event()
    upstream.script = lambda target: Answer(wait=release) if target == "/pay/first" else Answer()
    with httpx.Client(base_url=up.url) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, client, "/pay/first", key)
        try:
            eventually(lambda: any(seen.target == "/pay/first" for seen in upstream.ledger))
            yield
        finally:
            release.set()
        assert first.result().status_code == 201, "it keeps the policy that it began with"


def policy_seen(answer: httpx.Response) -> tuple[int, str]:
    """By which policy a duplicate was refused."""
    link = answer.headers.get("link", "")
    return answer.status_code, link.partition("example.com/")[2].partition(">")[0]


def duplicates_until(done: threading.Event, up: Up, key: str) -> list[tuple[int, str]]:
    """Duplicates of the call in progress, one after another, and between them new calls that have to pass."""
    seen: list[tuple[int, str]] = []
    with httpx.Client(base_url=up.url) as client:
        for number in itertools.count():
            if done.is_set() and number >= REQUESTS // 4:
                return seen
            seen.append(policy_seen(post(client, "/pay/first", key)))
            assert post(client, f"/pay/{uuid.uuid4()}", str(uuid.uuid4())).status_code == 201
    raise AssertionError


def test_while_the_file_flips_between_two_policies_none_of_500_requests_fails_and_each_sees_one(
    up: Up, upstream: Upstream
) -> None:
    key, done = str(uuid.uuid4()), threading.Event()
    with call_in_progress(up, upstream, key), ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(duplicates_until, done, up, key) for _ in range(4)]
        try:
            for flip in range(FLIPS):
                before = reloads(up, "applied")
                put(up, (TWO, ONE)[flip % 2])
                eventually(lambda before=before: reloads(up, "applied") > before)  # type: ignore[misc] # a default of its own
        finally:
            done.set()
        seen = [each for call in calls for each in call.result()]

    assert 2 * len(seen) >= REQUESTS
    assert set(seen) == SEEN
    assert reloads(up, "rejected") == 0


def test_a_bad_file_keeps_the_policies_and_log_and_metric_say_so(up: Up, upstream: Upstream) -> None:
    put(up, "policies:\n  - name: two\n    ttl: soon\n")
    eventually(lambda: reloads(up, "rejected") > 0)
    # The metrics are of one worker: the other may take a moment longer.
    eventually(lambda: said(up, "sidecar.yaml:3: policies[0].ttl: ") >= 2)

    key = str(uuid.uuid4())
    with call_in_progress(up, upstream, key), httpx.Client(base_url=up.url) as client:
        assert policy_seen(post(client, "/pay/first", key)) == (409, "one")


def test_envoy_comes_to_send_the_requests_that_only_new_policies_want(up: Up, upstream: Upstream) -> None:
    def replayed() -> bool:
        key = str(uuid.uuid4())
        with httpx.Client(base_url=up.url) as client:
            answers = [post(client, "/refund", key) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [201, 201]
        return "idempotent-replayed" in answers[1].headers

    assert not replayed(), "no policy is for this path, and Envoy skips the sidecar"
    put(up, policy("wide", 409, "/**"))
    eventually(replayed)
    assert said(up, "new policies: Envoy takes its new listeners") == 1
    assert said(up, "has to be rendered again") == 0, "it was"
    assert said(up, "died") == 0
    assert upstream.ledger


def test_a_connection_goes_by_the_old_listeners_for_one_more_request_and_is_closed_by_its_answer(
    up: Up,
) -> None:
    with httpx.Client(base_url=up.url) as client:
        post(client, "/refund", str(uuid.uuid4()))
        put(up, policy("wide", 409, "/**"))
        eventually(lambda: said(up, "Envoy takes its new listeners") == 1)
        eventually(lambda: takes_new_connections_by(up, "wide"))
        key = str(uuid.uuid4())
        answers = [post(client, "/refund", key) for _ in range(3)]

    assert [answer.headers.get("connection") for answer in answers] == ["close", None, None]
    assert ["idempotent-replayed" in answer.headers for answer in answers] == [False, False, True]


def takes_new_connections_by(up: Up, name: str) -> bool:
    """Whether a key that is too long is refused on a new connection, for this policy wants such requests."""
    answer = httpx.post(f"{up.url}/refund", headers={"idempotency-key": "k" * 300})
    return policy_seen(answer) == (400, name)


def test_no_request_fails_while_envoy_takes_new_listeners(up: Up) -> None:
    with Load(up.url).running() as load:
        load.goes_on(100)
        for count, text in enumerate((policy("wide", 409, "/**"), ONE), 1):
            put(up, text)
            eventually(lambda count=count: said(up, "Envoy takes its new listeners") == count)  # type: ignore[misc] # a default of its own
            load.goes_on(200)
    assert load.failed == []


def test_at_sighup_every_worker_reloads_whatever_the_file_and_warns_where_envoy_has_to_follow(
    upstream: Upstream, valkey: Server
) -> None:
    with running_fleet(upstream, valkey.url, server={"workers": 2}) as fleet:
        workers, text = fleet.workers, fleet.config.read_text()
        fleet.process.send_signal(signal.SIGHUP)  # of a file that is as it was, of which no look tells
        eventually(lambda: fleet.metric("idempotency_config_reloads_total", result="applied") == EACH_ONCE)
        assert not fleet.said("has to be rendered again"), "it has not"

        fleet.config.write_text(f"{text}policies: [{{name: puts, match: {{methods: [PUT]}}}}]\n")
        fleet.process.send_signal(signal.SIGHUP)
        eventually(lambda: fleet.said("has to be rendered again"))
        assert fleet.workers == workers, "nobody has died of it"
        assert fleet.process.poll() is None


EACH_ONCE = {"0": 1, "1": 1}


def test_callers_that_envoy_does_not_tell_yet_are_refused_and_not_taken_for_one(
    upstream: Upstream, valkey: Server
) -> None:
    with running_fleet(upstream, valkey.url, server={"workers": 1}) as fleet:
        text = fleet.config.read_text()
        scope = "['jwt:sub', 'metadata:acme.tenant', path]"
        fleet.config.write_text(f"{text}policies: [{{name: told, scope: {scope}}}]\n")
        eventually(lambda: fleet.said("has to be rendered again"))
        alice = httpx.post(f"{fleet.url}/told", headers={"idempotency-key": "k"})
        keyless = httpx.post(f"{fleet.url}/told")

        assert (alice.status_code, keyless.status_code) == (503, 201)
        assert upstream.times("/told") == 1
        assert fleet.said("Envoy does not tell acme, envoy.filters.http.jwt_authn")


def test_a_worker_that_is_started_again_reads_the_file_as_it_is_by_then(up: Up, upstream: Upstream) -> None:
    put(up, TWO)
    eventually(lambda: reloads(up, "applied") > 0)
    for pid in up.worker_pids:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: said(up, "is back (pid") == len(up.worker_pids))

    key = str(uuid.uuid4())
    with httpx.Client(base_url=up.url) as client:
        eventually(lambda: post(client, f"/pay/{uuid.uuid4()}", str(uuid.uuid4())).status_code == 201)
        with call_in_progress(up, upstream, key):
            assert policy_seen(post(client, "/pay/first", key)) == (429, "two")
