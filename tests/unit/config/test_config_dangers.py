"""What is allowed and dangerous: each with its place, what happens and what would be safe."""

from pathlib import Path

import pytest

from sidecar.config.dangers import Danger, Level, dangers
from sidecar.config.loading import read

SAFE = 'scope: ["jwt:sub", host, method, path]'


def found(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> list[Danger]:
    file = tmp_path / "sidecar.yaml"
    file.write_text(text, encoding="utf-8")
    return dangers(read(file, environ or {}))


def fields(tmp_path: Path, policy: str, sections: str = "") -> list[str]:
    """The fields that are dangerous in a policy that is safe otherwise."""
    text = f"{sections}\npolicies:\n  - name: notes\n    {SAFE}\n    {policy}\n"
    return [danger.field for danger in found(tmp_path, text)]


def test_the_policy_that_there_is_without_a_file_has_a_note_and_no_warning() -> None:
    (note,) = dangers(read(None, {}))

    assert (note.level, note.field) == (Level.NOTE, "policies[0].scope")
    assert "jwt:sub" in note.safe


def test_the_note_about_tokens_is_said_once_however_many_policies_it_concerns(tmp_path: Path) -> None:
    text = "policies:\n  - {name: a, match: {paths: [/a]}}\n  - {name: b, match: {paths: [/b]}}\n"
    (note,) = found(tmp_path, text)

    assert note.line == 2
    assert "header:authorization tells callers apart (a, b): " in note.message
    assert str(note).startswith(f"note: {tmp_path}/sidecar.yaml:2: policies[0].scope: header:authorization")


def test_a_danger_is_a_line_with_its_place_what_happens_and_what_is_safe(tmp_path: Path) -> None:
    text = f"policies:\n  - name: notes\n    {SAFE}\n    unknown: retry\n"
    (danger,) = found(tmp_path, text)

    assert str(danger) == (
        f"warning: {tmp_path}/sidecar.yaml:4: policies[0].unknown: a retry executes again while nobody knows "
        "whether the earlier attempt did, or still does; safe: hold; or an upstream that refuses an "
        "Idempotency-Attempt lower than one it has seen (fencing)"
    )


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        ("unknown: retry", "unknown"),
        ("ttl: 30m", "ttl"),
        ("key: {from: derived, window: 5m}\n    execution: detached\n    deadline: 5m", "key.window"),
        (
            "ttl: 2h\n    in_progress: {action: wait, wait: 1h}\n    execution: detached\n    deadline: 1h",
            "ttl",
        ),
        ('outcomes: {"502": release}', 'outcomes."502"'),
        ('outcomes: {"5xx": release}', "outcomes.5xx"),
        ('outcomes: {"2xx": release}', "outcomes.2xx"),
        ('outcomes: {"201": release}', "outcomes.201"),
        ('outcomes: {"grpc:OK": release}', 'outcomes."grpc:OK"'),
        ('outcomes: {"grpc:ABORTED": release}', 'outcomes."grpc:ABORTED"'),
        ("key: {required: true}\n    on_unavailable: bypass", "on_unavailable"),
        ("match: {paths: ['/v1/Orders/**']}\n    on_unavailable: bypass", "on_unavailable"),
        ("match: {route: charge-card}\n    on_unavailable: bypass", "on_unavailable"),
    ],
)
def test_a_dangerous_field_is_named(tmp_path: Path, policy: str, field: str) -> None:
    sections = "origin: {url: 'unix:///run/o.sock'}"
    (name,) = fields(tmp_path, policy, sections)

    assert name.replace('"', "") == f"policies[0].{field}".replace('"', "")


@pytest.mark.parametrize(
    "policy",
    [
        "unknown: hold",
        "ttl: 1h",
        "key: {from: derived, window: 5m}",
        "in_progress: {action: reject, wait: 1h}\n    ttl: 1h",
        'outcomes: {"404": release, "503": release, "4xx": release, "502": record, "2xx": unknown}',
        'outcomes: {"grpc:UNAVAILABLE": release, "grpc:NOT_FOUND": release}',
        "on_unavailable: bypass",
        "mode: shadow\n    key: {required: true}\n    on_unavailable: bypass",
        "mode: off\n    unknown: retry\n    ttl: 31s",
        "execution: detached",
    ],
)
def test_what_is_safe_enough_is_not_spoken_of(tmp_path: Path, policy: str) -> None:
    assert fields(tmp_path, policy, "origin: {url: 'unix:///run/o.sock'}") == []


def test_a_lease_has_to_outlast_a_slow_store(tmp_path: Path) -> None:
    assert fields(tmp_path, "lease: 3s", "store: {timeout: 1s}") == ["policies[0].lease"]
    assert fields(tmp_path, "lease: 4s", "store: {timeout: 1s}") == []


def test_a_lease_shorter_than_the_call_counts_where_a_retry_may_take_over(tmp_path: Path) -> None:
    sections = "origin: {url: 'unix:///run/o.sock'}"
    retry = "execution: detached\n    unknown: retry"

    assert fields(tmp_path, retry, sections) == ["policies[0].unknown", "policies[0].lease"]
    assert fields(tmp_path, f"{retry}\n    lease: 1m", sections) == ["policies[0].unknown"]


@pytest.mark.parametrize(
    "scope",
    ["[host, path]", "[method]", "['header:Content-Type', path]", "['header:idempotency-key', host]"],
)
def test_a_scope_without_a_caller_is_one_that_all_callers_share(tmp_path: Path, scope: str) -> None:
    (danger,) = found(tmp_path, f"policies:\n  - name: notes\n    scope: {scope}\n")

    assert (danger.line, danger.field, danger.level) == (3, "policies[0].scope", Level.WARNING)
    assert "gets its response" in danger.message


@pytest.mark.parametrize("part", ["peer", "header:X-Tenant", "jwt:sub", "metadata:a.b"])
def test_whatever_tells_callers_apart_will_do(tmp_path: Path, part: str) -> None:
    assert found(tmp_path, f"policies:\n  - name: notes\n    scope: ['{part}']\n") == []


def test_a_bypass_that_the_store_section_says_is_shown_there_for_each_policy(tmp_path: Path) -> None:
    text = (
        "store: {on_unavailable: bypass}\npolicies:\n"
        f"  - {{name: orders, match: {{paths: [/o]}}, {SAFE}}}\n"
        f"  - {{name: notes, match: {{paths: [/n]}}, {SAFE}}}\n"
        f"  - {{name: refunds, match: {{paths: [/r]}}, {SAFE}, on_unavailable: reject}}\n"
    )
    (danger,) = found(tmp_path, text)

    assert (danger.line, danger.field) == (1, "store.on_unavailable")
    assert "orders is about money or orders" in danger.message


def test_a_policy_behind_a_wider_one_is_shown_with_the_one_that_hides_it(tmp_path: Path) -> None:
    text = (
        f"policies:\n  - {{name: all, match: {{methods: []}}, {SAFE}}}\n"
        f"  - name: payments\n    {SAFE}\n    match: {{paths: [/v1/payments]}}\n"
    )
    (danger,) = found(tmp_path, text)

    assert (danger.line, danger.field) == (5, "policies[1].match")
    assert danger.message.startswith("all stands before it and matches every request that payments does")


def test_a_danger_from_the_environment_is_shown_by_its_variable(tmp_path: Path) -> None:
    text = f"policies:\n  - name: notes\n    {SAFE}\n"
    (danger,) = found(tmp_path, text, {"IDEMPOTENCY__POLICIES__0__UNKNOWN": "retry"})

    assert (danger.file, danger.line) == ("IDEMPOTENCY__POLICIES__0__UNKNOWN", None)
    assert str(danger).startswith("warning: IDEMPOTENCY__POLICIES__0__UNKNOWN: policies[0].unknown: ")
