"""What counts as the same request, through a real Envoy (`fingerprint`)."""

from tests.e2e.policy_scene import FORM, JSON, Scene, assert_problem, at, is_replay, sha256


def test_another_spelling_of_a_json_body_is_the_same_request(scene: Scene) -> None:
    target, headers = at("meaning"), {**JSON, "idempotency-key": "k"}

    first = scene.post(target, content=b'{"amount": 10, "sent_at": 1}', headers=headers)
    again = scene.post(target, content=b'{"sent_at":2,"amount":10.0}', headers=headers)
    other = scene.post(target, content=b'{"amount": 11}', headers=headers)

    assert (first.status_code, is_replay(again)) == (201, True)
    assert_problem(other, 422, "key-reused")
    assert scene.upstream.last(target).sha256 == sha256(b'{"amount": 10, "sent_at": 1}')


def test_malformed_json_never_reaches_the_upstream(scene: Scene) -> None:
    target = at("meaning")

    refused = scene.post(target, content=b"{'a': 1}", headers={**JSON, "idempotency-key": "k"})

    assert_problem(refused, 400, "body-invalid")
    assert scene.upstream.times(target) == 0
    assert scene.post(target, content=b"{}", headers={**JSON, "idempotency-key": "k"}).status_code == 201


def test_the_fields_of_a_form_and_a_query_may_come_in_any_order(scene: Scene) -> None:
    target, headers = at("form"), {**FORM, "idempotency-key": "k"}

    first = scene.post(f"{target}?x=1&y=2", content=b"a=1&b=2+3", headers=headers)
    again = scene.post(f"{target}?y=2&x=1", content=b"b=2%203&a=1", headers=headers)
    other = scene.post(f"{target}?y=2&x=1", content=b"b=2&a=1", headers=headers)

    assert (first.status_code, is_replay(again)) == (201, True)
    assert_problem(other, 422, "key-reused")


def test_only_what_the_policy_names_counts(scene: Scene) -> None:
    target, key = at("traced"), {"idempotency-key": "k"}

    first = scene.post(f"{target}?a=1", content=b"x", headers={**key, "x-amount": "1"})
    again = scene.post(f"{target}?a=2", content=b"y", headers={**key, "x-amount": "1"})
    other = scene.post(target, headers={**key, "x-amount": "2"})

    assert (first.status_code, is_replay(again)) == (201, True)
    assert_problem(other, 422, "key-reused")
