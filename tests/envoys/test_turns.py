"""Stacks in turn: one ahead, each started once, all of them stopped."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.envoys.turns import Turns


class Diary:
    """What was started and stopped, in order."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.written = threading.Condition()

    def starting(self, *, failing: str = "") -> Callable[[str], AbstractContextManager[str]]:
        @contextmanager
        def start(name: str) -> Iterator[str]:
            if name == failing:
                raise RuntimeError(f"no {name}")
            self._write(f"start {name}")
            yield name.upper()
            self._write(f"stop {name}")

        return start

    def has(self, entry: str) -> bool:
        with self.written:
            return self.written.wait_for(lambda: entry in self.entries, timeout=10)

    def _write(self, entry: str) -> None:
        with self.written:
            self.entries.append(entry)
            self.written.notify_all()


def test_the_next_one_is_started_while_this_one_is_used() -> None:
    diary = Diary()
    with Turns(["a", "b", "c"], diary.starting()) as turns:
        assert turns.take("a") == "A"
        assert diary.has("start b")
        assert "start c" not in diary.entries

        turns.stop("a")
        assert turns.take("b") == "B"
        assert diary.has("start c")

    assert diary.entries == ["start a", "start b", "stop a", "start c", "stop b", "stop c"]


def test_a_start_that_fails_is_told_to_whoever_takes_it_and_the_others_go_on() -> None:
    diary = Diary()
    with Turns(["a", "b"], diary.starting(failing="a")) as turns:
        with pytest.raises(RuntimeError, match="no a"):
            turns.take("a")
        turns.stop("a")
        assert turns.take("b") == "B"

    assert diary.entries == ["start b", "stop b"]
