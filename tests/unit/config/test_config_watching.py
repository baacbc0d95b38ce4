"""A configuration file that changes is noticed, however it is changed, and once only."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar.config.errors import ConfigError
from sidecar.config.watching import POLL_S, SETTLE_S, FileWatch, Look, WatchedConfig, asked_within

OLD, NEW = "policies: [{name: old}]\n", "policies: [{name: new}]\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "sidecar.yaml"
    file.write_text(OLD)
    return file


def edit_in_place(file: Path) -> None:
    file.write_text(NEW)


def rename_another_over_it(file: Path) -> None:
    another = file.with_suffix(".tmp")
    another.write_text(NEW)
    another.replace(file)


def remove_and_create(file: Path) -> None:
    file.unlink()
    file.write_text(NEW)


def link_to_another(file: Path) -> None:
    another = file.with_name("another.yaml")
    another.write_text(NEW)
    file.unlink()
    file.symlink_to(another)


@pytest.mark.parametrize(
    "change", [edit_in_place, rename_another_over_it, remove_and_create, link_to_another]
)
def test_a_change_is_seen_once_when_the_file_has_come_to_rest(
    file: Path, change: Callable[[Path], None]
) -> None:
    watch = FileWatch(file)
    assert watch.look() is Look.SAME
    change(file)
    assert [watch.look() for _ in range(4)] == [Look.SETTLING, Look.CHANGED, Look.SAME, Look.SAME]


def mount(volume: Path, version: str, text: str) -> None:
    """What a kubelet does: a new directory, and a link to it renamed over `..data`; then the old one goes."""
    before = (volume / "..data").resolve() if (volume / "..data").exists() else None
    (volume / version).mkdir()
    (volume / version / "sidecar.yaml").write_text(text)
    (volume / "..data_tmp").symlink_to(version)
    (volume / "..data_tmp").replace(volume / "..data")
    if before is not None:
        (before / "sidecar.yaml").unlink()
        before.rmdir()


def test_the_link_of_a_configmap_s_volume_that_is_swapped_is_a_change(tmp_path: Path) -> None:
    mount(tmp_path, "..2026_11_24_15_00_00.1", OLD)
    path = tmp_path / "sidecar.yaml"
    path.symlink_to("..data/sidecar.yaml")
    watch = FileWatch(path)
    for number in (2, 3, 4):
        mount(tmp_path, f"..2026_11_24_15_00_00.{number}", f"{NEW}# {number}\n")
        assert [watch.look() for _ in range(3)] == [Look.SETTLING, Look.CHANGED, Look.SAME]


def test_a_swap_to_the_same_content_is_none(tmp_path: Path) -> None:
    mount(tmp_path, "..1", OLD)
    path = tmp_path / "sidecar.yaml"
    path.symlink_to("..data/sidecar.yaml")
    watch = FileWatch(path)
    mount(tmp_path, "..2", OLD)
    assert [watch.look() for _ in range(3)] == [Look.SETTLING, Look.SAME, Look.SAME]


def test_a_file_that_is_touched_and_holds_the_same_is_none(file: Path) -> None:
    watch = FileWatch(file)
    os.utime(file, ns=(1, 1))
    assert [watch.look() for _ in range(3)] == [Look.SETTLING, Look.SAME, Look.SAME]


def test_a_file_that_is_still_written_to_is_waited_for(file: Path) -> None:
    watch = FileWatch(file)
    for length in range(1, 6):
        file.write_text(NEW[:length])
        assert watch.look() is Look.SETTLING, "half a list of policies may be a valid one"
    file.write_text(NEW)
    assert [watch.look(), watch.look()] == [Look.SETTLING, Look.CHANGED]


def test_a_file_that_is_gone_for_a_moment_and_comes_back_as_it_was_is_no_change(file: Path) -> None:
    watch = FileWatch(file)
    file.rename(file.with_suffix(".away"))
    assert watch.look() is Look.SETTLING
    file.with_suffix(".away").rename(file)
    assert [watch.look() for _ in range(3)].count(Look.CHANGED) == 0
    assert watch.look() is Look.SAME


def test_a_file_that_stays_away_is_told_once_and_so_is_its_return(file: Path) -> None:
    watch = FileWatch(file)
    file.unlink()
    looks = [watch.look() for _ in range(20)]
    assert looks == [*[Look.SETTLING] * 9, Look.CHANGED, *[Look.SAME] * 10]
    file.write_text(OLD)
    assert [watch.look() for _ in range(3)] == [Look.SETTLING, Look.CHANGED, Look.SAME]


def test_what_was_taken_for_known_is_not_told_again(file: Path) -> None:
    watch = FileWatch(file)
    file.write_text(NEW)
    assert watch.look() is Look.SETTLING
    watch.take()
    assert [watch.look() for _ in range(3)] == [Look.SAME] * 3


@pytest.mark.parametrize("name", ["nowhere.yaml", "a\0b", "x" * 300])
def test_a_path_that_names_nothing_can_be_looked_at(tmp_path: Path, name: str) -> None:
    assert FileWatch(tmp_path / name).look() is Look.SAME


class Clock:
    """A wait that takes no time: each one does something to the world, and says for how long it was to be."""

    def __init__(self, *acts: Callable[[], object]) -> None:
        self.waits: list[float] = []
        self._acts = list(acts)

    async def __call__(self, asked: asyncio.Event, seconds: float) -> bool:
        self.waits.append(seconds)
        if not self._acts:
            raise EOFError
        self._acts.pop(0)()
        return asked.is_set()


def nothing() -> None:
    """An uneventful second."""


async def names_loaded(config: WatchedConfig) -> list[str]:
    """What is in force after each reload, until the clock runs out."""
    found: list[str] = []

    async def follow() -> None:
        async for _ in config.changes():
            found.append(config.load().policies.policies[0].name)  # noqa: PERF401 - kept when the clock stops

    with pytest.raises(EOFError):
        await follow()
    return found


async def test_it_looks_every_second_and_sooner_while_the_file_settles(file: Path) -> None:
    clock = Clock(nothing, lambda: edit_in_place(file), nothing, nothing)
    config = WatchedConfig(file, {}, wait=clock)

    assert await names_loaded(config) == ["new"]
    assert clock.waits == [POLL_S, POLL_S, SETTLE_S, POLL_S, POLL_S]


async def test_asked_for_it_reloads_at_once_and_does_not_see_the_same_change_again(file: Path) -> None:
    def edit_and_ask() -> None:
        edit_in_place(file)
        config.ask()

    clock = Clock(edit_and_ask, nothing, nothing, nothing)
    config = WatchedConfig(file, {}, wait=clock)

    assert await names_loaded(config) == ["new"]
    assert clock.waits == [POLL_S] * 5


async def test_a_change_before_the_first_look_is_not_missed(file: Path) -> None:
    config = WatchedConfig(file, {}, wait=Clock(nothing, nothing, nothing))
    edit_in_place(file)
    assert await names_loaded(config) == ["new"]


async def test_the_environment_stands_over_the_file_at_every_loading(file: Path) -> None:
    config = WatchedConfig(file, {"IDEMPOTENCY__STORE__PREFIX": "mine"})
    assert config.load().store.prefix == "mine"
    edit_in_place(file)
    assert config.load().store.prefix == "mine"


def test_a_file_that_cannot_be_used_says_why(file: Path) -> None:
    config = WatchedConfig(file, {})
    file.write_text("policies: [{name: x, ttl: soon}]\n")
    with pytest.raises(ConfigError, match=r"sidecar\.yaml:1: policies\[0\]\.ttl: "):
        config.load()


async def test_waiting_ends_when_asked_or_when_the_time_is_up() -> None:
    asked = asyncio.Event()
    assert not await asked_within(asked, 0.001)
    asyncio.get_running_loop().call_soon(asked.set)
    assert await asked_within(asked, 60)
