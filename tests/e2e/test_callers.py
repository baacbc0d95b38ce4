"""Whose key it is, through a real Envoy (`scope`)."""

import uuid

import httpx

from tests.e2e import tokens
from tests.e2e.policy_scene import Scene, assert_problem, at, is_replay

# --- By what Envoy knows of the caller


def test_a_new_token_of_the_same_caller_replays_and_another_caller_executes(scene: Scene) -> None:
    target = at("jwt")

    def post(**claims: object) -> httpx.Response:
        credentials = {"authorization": f"Bearer {tokens.token(**claims)}", "idempotency-key": "k"}
        return scene.post(target, headers=credentials)

    answers = [
        post(sub="alice"),
        post(sub="alice", scope="more"),
        post(sub="bob"),
        post(sub="alice", iss="issuer-b"),
        post(sub=""),
        post(),
    ]

    assert [answer.status_code for answer in answers] == [201] * 6
    assert [is_replay(answer) for answer in answers] == [False, True, False, False, False, False]
    assert is_replay(post())


def test_a_token_that_nobody_verified_is_nobodys(scene: Scene) -> None:
    forged = tokens.token(sub="alice")[:-4] + "AAAA"

    refused = scene.post(at("jwt"), headers={"authorization": f"Bearer {forged}", "idempotency-key": "k"})

    assert refused.status_code == 401


def test_callers_are_told_apart_by_their_certificates(scene: Scene) -> None:
    target = at("peer")
    sign = scene.authority.sign
    peers = {
        "shop": sign("shop", names="URI:spiffe://example.org/shop,DNS:one.example"),
        "renewed": sign("renewed", names="URI:spiffe://example.org/shop,DNS:two.example"),
        "till": sign("till", names="URI:spiffe://example.org/till,DNS:one.example"),
        "named": sign("named", names="DNS:one.example"),
    }

    answers = {name: scene.post_as(peer, target, "k") for name, peer in peers.items()}

    assert {answer.status_code for answer in answers.values()} == {201}
    assert {name: is_replay(answer) for name, answer in answers.items()} == {
        "shop": False,
        "renewed": True,
        "till": False,
        "named": False,
    }
    anonymous = scene.post(target, headers={"idempotency-key": "k"})
    assert not is_replay(anonymous)


def test_callers_are_told_apart_by_what_a_filter_noted(scene: Scene) -> None:
    target = at("tenant")

    def post(**tenant: str) -> httpx.Response:
        return scene.post(target, headers={"idempotency-key": "k", **tenant})

    answers = [post(**{"x-tenant": "a"}), post(**{"x-tenant": "b"}), post(), post(**{"x-tenant": "a"})]

    assert [is_replay(answer) for answer in answers] == [False, False, False, True]


def test_hosts_have_keys_of_their_own(scene: Scene) -> None:
    target = at("hosts")

    answers = [
        scene.post(target, headers={"idempotency-key": "k", "host": host})
        for host in ("a.example", "b.example", "A.example")
    ]

    assert [is_replay(answer) for answer in answers] == [False, False, True]


# --- By parts of the request


def test_methods_have_keys_of_their_own(scene: Scene) -> None:
    target, headers = at("methods"), {"idempotency-key": uuid.uuid4().hex}

    answers = [
        httpx.request(method, f"{scene.fleet.url}{target}", headers=headers)
        for method in ("POST", "PUT", "PUT", "POST")
    ]

    assert [is_replay(answer) for answer in answers] == [False, False, True, True]


def test_without_the_path_in_its_scope_a_key_is_the_same_on_every_path(scene: Scene) -> None:
    headers = {"idempotency-key": uuid.uuid4().hex}

    first = scene.post(at("methods"), headers=headers)
    elsewhere = scene.post(at("methods"), headers=headers)

    assert first.status_code == 201
    assert_problem(elsewhere, 422, "key-reused")


def test_a_caller_whose_header_is_absent_is_not_the_one_whose_header_is_empty(scene: Scene) -> None:
    target = at("caller")

    def post(**caller: str) -> httpx.Response:
        return scene.post(target, headers={"idempotency-key": "k", **caller})

    answers = [
        post(),
        post(**{"x-caller": ""}),
        post(**{"x-caller": "a"}),
        post(**{"x-caller": "b"}),
        post(),
        post(**{"x-caller": ""}),
    ]

    assert {answer.status_code for answer in answers} == {201}
    assert [is_replay(answer) for answer in answers] == [False, False, False, False, True, True]
