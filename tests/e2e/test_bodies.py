"""Bodies of every kind, in both directions, byte for byte; and what is too large to keep."""

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Job
from tests.stack.upstream import Answer

THREE_MB = os.urandom(3 * 1024 * 1024)


def pieces(body: bytes, size: int = 50_000) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "chunked"])
@pytest.mark.parametrize("body", [b"", b"\x00\xff\r\n\x00", THREE_MB], ids=["empty", "binary", "3 MB"])
def test_a_request_body_reaches_the_upstream_and_is_compared_whole(
    job: Job, key: str, body: bytes, chunked: bool
) -> None:
    target = job.path("orders", Answer())

    def content() -> bytes | Iterator[bytes]:
        return iter(pieces(body)) if chunked else body

    first = job.client.post(target, content=content(), headers={"idempotency-key": key})
    retry = job.client.post(target, content=content(), headers={"idempotency-key": key})

    assert (first.status_code, retry.status_code) == (201, 201)
    assert retry.headers["idempotent-replayed"] == "true"
    seen = job.upstream.last(target)
    assert (seen.size, seen.sha256) == (len(body), hashlib.sha256(body).hexdigest())
    assert job.upstream.times(target) == 1


@pytest.mark.parametrize("sized", [True, False], ids=["sized", "chunked"])
@pytest.mark.parametrize("typed", [True, False], ids=["typed", "untyped"])
@pytest.mark.parametrize(
    "body", [b"", b"\x00\xff\r\n\x00", THREE_MB[: 1024 * 1024]], ids=["empty", "binary", "1 MiB"]
)
def test_a_response_body_is_replayed_byte_for_byte(
    job: Job, key: str, body: bytes, sized: bool, typed: bool
) -> None:
    headers = [("content-type", "application/octet-stream")] if typed else []
    target = job.path("orders", Answer(200, headers, pieces(body), sized=sized))

    first = job.client.post(target, headers={"idempotency-key": key})
    retry = job.client.post(target, headers={"idempotency-key": key})

    assert first.content == retry.content == body
    assert first.headers.get("content-type") == retry.headers.get("content-type")
    assert retry.headers["idempotent-replayed"] == "true"
    assert job.upstream.times(target) == 1


def test_a_three_megabyte_response_passes_whole_and_is_never_executed_again(job: Job, key: str) -> None:
    target = job.path("orders", Answer(200, [], pieces(THREE_MB)))

    first = job.client.post(target, headers={"idempotency-key": key})
    retry = job.client.post(target, headers={"idempotency-key": key})

    assert first.content == THREE_MB
    assert retry.status_code == 409
    assert retry.json()["type"] == "urn:idempotency:response-not-stored"
    assert retry.json()["original_status"] == 200
    assert job.upstream.times(target) == 1


def test_the_limit_of_a_response_is_the_policys_to_the_byte(job: Job, key: str) -> None:
    fits = job.path("small", Answer(200, [], [b"x" * 65536], sized=False))
    over = job.path("small", Answer(200, [], [b"x" * 65537], sized=False))

    kept = [job.client.post(fits, headers={"idempotency-key": key}) for _ in range(2)]
    lost = [job.client.post(over, headers={"idempotency-key": key}) for _ in range(2)]

    assert [response.status_code for response in kept] == [200, 200]
    assert [response.status_code for response in lost] == [200, 409]


def test_another_payload_is_told_apart_even_where_the_response_was_not_kept(job: Job, key: str) -> None:
    target = job.path("small", Answer(200, [], [b"x" * 70000]))
    job.client.post(target, content=b"one", headers={"idempotency-key": key})

    assert job.client.post(target, content=b"two", headers={"idempotency-key": key}).status_code == 422


@pytest.mark.parametrize("status", [204, 304, 200])
def test_responses_without_a_body_are_replayed(job: Job, key: str, status: int) -> None:
    target = job.path("orders", Answer(status, [("x-order", "7")], [], sized=status == 200))

    first = job.client.post(target, headers={"idempotency-key": key})
    retry = job.client.post(target, headers={"idempotency-key": key})

    assert first.status_code == retry.status_code == status
    assert retry.headers["x-order"] == "7"
    assert retry.headers["idempotent-replayed"] == "true"
    assert job.upstream.times(target) == 1


def test_two_set_cookie_fields_arrive_and_are_kept_out_of_the_record(job: Job, key: str) -> None:
    cookies = [("set-cookie", "a=1; Path=/"), ("set-cookie", "b=2")]
    target = job.path("orders", Answer(201, [*cookies, ("vary", "accept"), ("vary", "origin")]))

    first = job.client.post(target, headers={"idempotency-key": key})
    retry = job.client.post(target, headers={"idempotency-key": key})

    assert first.headers.get_list("set-cookie") == ["a=1; Path=/", "b=2"]
    assert retry.headers.get_list("set-cookie") == []
    assert first.headers["vary"].replace(" ", "") == retry.headers["vary"].replace(" ", "") == "accept,origin"


def test_two_set_cookie_fields_are_replayed_where_the_policy_keeps_them(job: Job, key: str) -> None:
    cookies = [("set-cookie", "a=1; Path=/"), ("set-cookie", "b=2")]
    target = job.path("cookies", Answer(201, [*cookies, ("content-type", "text/plain")]))

    for _ in range(2):
        response = job.client.post(target, headers={"idempotency-key": key})

    assert response.headers["idempotent-replayed"] == "true"
    assert response.headers.get_list("set-cookie") == ["a=1; Path=/", "b=2"]


def test_a_fifty_megabyte_upload_costs_the_sidecar_less_than_sixteen_megabytes(job: Job, key: str) -> None:
    target = job.path("orders", Answer())
    piece, count = os.urandom(100_000), 500
    pid = job.up.worker_pids[0]
    job.client.post(
        job.path("orders", Answer()), content=b"warm", headers={"idempotency-key": f'"{key[1:5]}"'}
    )
    reset_peak(pid)
    before = peak_memory(pid)

    response = job.client.post(target, content=iter([piece] * count), headers={"idempotency-key": key})

    grown = peak_memory(pid) - before
    assert response.status_code == 201
    seen = job.upstream.last(target)
    assert (seen.size, seen.sha256) == (50_000_000, hashlib.sha256(piece * count).hexdigest())
    assert grown < 16 * 1024 * 1024, f"grew by {grown / 1e6:.1f} MB"


def reset_peak(pid: int) -> None:
    """Set the kernel's high-water mark of a process back to what it uses now (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    time.sleep(0.05)


def peak_memory(pid: int) -> int:
    """The high-water mark of a process's resident memory, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
