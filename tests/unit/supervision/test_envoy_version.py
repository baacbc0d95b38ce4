"""What `up` learns from `envoy --version`."""

import asyncio
from pathlib import Path

import pytest

from sidecar.envoyconf.version import NEWEST, EnvoyVersion
from sidecar.supervision.envoy import find_envoy, version_of
from sidecar.supervision.errors import StartupError


def program(directory: Path, script: str) -> Path:
    file = directory / "envoy"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def saying(directory: Path, version: str) -> Path:
    return program(directory, f'echo; echo "$0  version: 9e5580933739/{version}/Clean/RELEASE/BoringSSL"')


async def test_the_embedded_envoy_says_which_it_is() -> None:
    assert await version_of(find_envoy(None)) == NEWEST


@pytest.mark.parametrize(
    ("said", "version"),
    [("1.36.4", (1, 36)), ("1.39.0-dev", (1, 39)), ("1.40.2", (1, 40))],
)
async def test_an_envoy_is_of_the_version_that_it_says(
    said: str, version: tuple[int, int], tmp_path: Path
) -> None:
    assert await version_of(saying(tmp_path, said)) == EnvoyVersion(*version)


async def test_one_that_is_newer_than_is_known_is_taken_for_the_newest(tmp_path: Path) -> None:
    assert await version_of(saying(tmp_path, "2.0.1")) == NEWEST


async def test_one_that_is_too_old_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"envoy is Envoy 1\.35; allowed: 1\.36 to 1\.40"):
        await version_of(saying(tmp_path, "1.35.9"))


@pytest.mark.parametrize("script", ["echo something else", "exit 3", "exit 3; echo version: x/1.36.1/"])
async def test_one_that_does_not_say_is_taken_for_the_newest(script: str, tmp_path: Path) -> None:
    assert await version_of(program(tmp_path, script)) == NEWEST


async def test_one_that_is_no_program_is_left_to_fail_when_it_starts(tmp_path: Path) -> None:
    file = tmp_path / "envoy"
    file.write_bytes(b"\x7fELF")
    file.chmod(0o755)

    assert await version_of(file) == NEWEST


@pytest.mark.parametrize("script", ["exec sleep 30", "sleep 30; exit 0"])
async def test_one_that_does_not_end_is_ended_with_what_it_started(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.supervision.envoy._TELLS_WITHIN_S", 0.05)

    assert await asyncio.wait_for(version_of(program(tmp_path, script)), 5) == NEWEST


async def test_what_it_leaves_behind_is_not_waited_for(tmp_path: Path) -> None:
    said = 'echo "version: 9e5580933739/1.36.4/Clean"'

    told = version_of(program(tmp_path, f"sleep 30 & {said}"))

    assert await asyncio.wait_for(told, 5) == EnvoyVersion(1, 36)
