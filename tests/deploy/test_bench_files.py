"""What the benchmark brings along: pinned peers, nothing built that is committed, its targets."""

import json
import re
from pathlib import Path

import pytest

from bench import machine

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "bench"


@pytest.mark.parametrize("peer", ["idemkit", "idemgate"])
def test_a_peers_environment_is_pinned_to_the_last_package(peer: str) -> None:
    lines = (BENCH / "peers" / f"{peer}.txt").read_text().splitlines()
    requirements = [line for line in lines if line and not line.startswith("#")]

    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][\w.]*", line) for line in requirements)
    assert {peer, "fastapi", "uvicorn", "uvloop", "httptools", "redis", "hiredis"} <= machine.pinned(
        "\n".join(requirements)
    ).keys()


def test_both_python_peers_run_on_the_same_framework() -> None:
    idemkit, idemgate = (
        machine.pinned((BENCH / "peers" / f"{peer}.txt").read_text()) for peer in ("idemkit", "idemgate")
    )

    for package in ("fastapi", "starlette", "uvicorn", "uvloop", "httptools", "hiredis"):
        assert idemkit[package] == idemgate[package]


def test_the_express_peer_is_pinned() -> None:
    dependencies = json.loads((BENCH / "peers" / "express" / "package.json").read_text())["dependencies"]

    assert "@node-idempotency/core" in dependencies
    assert all(re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", version) for version in dependencies.values())


def test_what_is_built_at_run_time_is_not_committed() -> None:
    assert (BENCH / ".gitignore").read_text().split() == [".cache/"]


def test_make_runs_the_bench_its_short_form_and_the_soak() -> None:
    makefile = (ROOT / "Makefile").read_text()

    assert re.search(
        r"^bench: .*\n\t\$\(BIN\)/python -m bench run \$\(if \$\(SHORT\),--short\)$", makefile, re.MULTILINE
    )
    assert re.search(
        r"^soak: .*\n\t\$\(BIN\)/python -m bench soak --minutes \$\(MINUTES\) --load \$\(LOAD\)$",
        makefile,
        re.MULTILINE,
    )
