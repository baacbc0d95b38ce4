"""What differs between two configurations is told by name."""

from pathlib import Path

import pytest

from sidecar.config.changes import PolicyChanges, needs_restart
from sidecar.config.loading import Settings, load
from sidecar.idempotency.policy import Policies, Policy


def policies(*found: Policy) -> Policies:
    return Policies(found)


A, B, C = Policy("a"), Policy("b"), Policy("c")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (policies(A, B), policies(A, B), PolicyChanges((), (), (), reordered=False)),
        (policies(A), policies(B, A), PolicyChanges(("b",), (), (), reordered=False)),
        (policies(A, B, C), policies(C), PolicyChanges((), ("a", "b"), (), reordered=False)),
        (policies(A), policies(Policy("a", ttl_ms=1)), PolicyChanges((), (), ("a",), reordered=False)),
        (policies(A, B), policies(B, A), PolicyChanges((), (), (), reordered=True)),
        (policies(A, B), policies(B, C), PolicyChanges(("c",), ("a",), (), reordered=False)),
    ],
)
def test_policies_are_added_removed_changed_and_reordered(
    old: Policies, new: Policies, told: PolicyChanges
) -> None:
    assert PolicyChanges.between(old, new) == told


def settings(directory: Path, text: str) -> Settings:
    file = directory / "sidecar.yaml"
    file.write_text(text)
    return load(file, {})


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("{}", ()),
        ("policies: [{name: other}]", ()),
        ("server: {workers: 2}", ("server.workers",)),
        ("server: {transport: native, admin: '127.0.0.1:1'}", ("server.transport", "server.admin")),
        ("store: {timeout: 1s, url: 'redis://127.0.0.1/7'}", ("store.url", "store.timeout")),
        ("origin: {url: 'unix:///run/origin.sock'}", ("origin.url",)),
        ("store: {on_unavailable: bypass}", ()),
    ],
)
def test_a_field_outside_the_policies_takes_a_restart_unless_policies_have_it_from_there(
    tmp_path: Path, text: str, fields: tuple[str, ...]
) -> None:
    usual = "server: {transport: grpcio}"
    text = text.replace("server: {workers", "server: {transport: grpcio, workers")
    text = text if "server" in text else f"{usual}\n{'' if text == '{}' else text}"
    assert set(needs_restart(settings(tmp_path, usual), settings(tmp_path, text))) == set(fields)
