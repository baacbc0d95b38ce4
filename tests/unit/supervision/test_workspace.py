"""The private directory, and that it goes whatever happens."""

import asyncio
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sidecar.supervision import launcher, sweeper
from sidecar.supervision.errors import StartupError
from sidecar.supervision.workspace import workspace
from tests.stack.children import eventually


async def test_it_is_private_and_gone_afterwards_with_all_that_is_in_it() -> None:
    async with workspace() as directory:
        assert directory.stat().st_mode & 0o777 == 0o700
        (directory / "data").mkdir()
        (directory / "data" / "file").write_text("x")
    assert not directory.exists()


async def test_it_is_gone_after_an_error_too() -> None:
    with pytest.raises(RuntimeError):
        async with workspace() as directory:
            raise RuntimeError
    assert not directory.exists()


def left_in(directory: Path) -> list[Path]:
    return list(directory.iterdir())


@pytest.mark.parametrize("steps", range(9))
async def test_it_is_gone_however_early_its_owner_is_cancelled(
    steps: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("sidecar.supervision.workspace._LONGEST_ROOT", len(bytes(tmp_path)))

    async def work() -> None:
        async with workspace():
            await asyncio.sleep(60)

    working = asyncio.create_task(work())
    for _ in range(steps):
        await asyncio.sleep(0)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert left_in(tmp_path) == []


async def test_where_nothing_can_be_started_it_says_so_and_is_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("sidecar.supervision.workspace._LONGEST_ROOT", len(bytes(tmp_path)))
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(StartupError, match="cannot start /nowhere/python: No such file or directory"):
        async with workspace():
            pytest.fail("nobody would remove it")
    assert left_in(tmp_path) == []


async def test_its_path_leaves_room_for_the_names_of_sockets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deep = tmp_path / ("d" * 80)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    async with workspace() as directory:
        assert len(bytes(directory / "ext_proc.sock.63")) < 104


async def test_where_no_directory_can_be_made_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(
        StartupError, match="cannot create a directory in /nowhere: No such file or directory"
    ):
        async with workspace():
            pytest.fail("there is no such directory")


async def test_it_goes_even_when_its_owner_is_killed() -> None:
    owner = (
        "import asyncio\n"
        "from sidecar.supervision.workspace import workspace\n"
        "async def main():\n"
        "    async with workspace() as directory:\n"
        "        (directory / 'file').write_text('x')\n"
        "        print(directory, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", owner, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    directory = Path((await process.stdout.readline()).decode().strip())
    assert (directory / "file").exists()
    process.kill()
    await process.wait()
    await eventually(lambda: not directory.exists())


def test_sweeping_what_is_not_there_succeeds(tmp_path: Path) -> None:
    assert sweeper.sweep(tmp_path / "nothing")


def test_sweeping_is_repeated_while_others_still_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "busy"
    directory.mkdir()
    removals: list[Path] = []

    def remove(path: Path, *, ignore_errors: bool) -> None:
        assert ignore_errors
        removals.append(path)
        if len(removals) == 3:
            path.rmdir()

    monkeypatch.setattr(shutil, "rmtree", remove)
    monkeypatch.setattr(sweeper, "PAUSE_S", 0)
    assert sweeper.sweep(directory)
    assert removals == [directory] * 3


def test_sweeping_that_never_succeeds_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    monkeypatch.setattr(sweeper, "PAUSE_S", 0)
    assert not sweeper.sweep(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal at a parent's death is Linux's")
def test_the_launcher_runs_nothing_when_its_parent_is_gone_already() -> None:
    another = "1"
    done = subprocess.run(
        [sys.executable, "-I", "-S", launcher.__file__, another, "9", "/bin/echo", "too late"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (launcher.COULD_NOT_RUN, "")
