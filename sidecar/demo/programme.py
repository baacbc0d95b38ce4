"""What a person sees while the guided run is under way."""

from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner

from sidecar.demo.report import lines, table
from sidecar.demo.scenes import SCRIPTS, Scene


class Programme:
    """Shows each scene once played: a growing table on a terminal, else plain lines; nothing when quiet."""

    def __init__(self, *, quiet: bool = False, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, quiet=quiet)
        self._scenes: list[Scene] = []
        self._doing = "Starting a payments service, Valkey, the sidecar and Envoy …"
        self._live = Live(self._view(), console=self._console) if self._console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start(refresh=True)
        else:
            self._print(self._doing)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._doing = ""
        self._show()
        if self._live:
            self._live.stop()

    def ready(self, url: str) -> None:
        """The curtain rises."""
        self._doing = f"Envoy listens on {url}"
        self._show()
        if not self._live:
            self._print(f"{self._doing}\n")

    def played(self, scene: Scene) -> None:
        """One more scene."""
        self._scenes.append(scene)
        number = len(self._scenes)
        self._doing = SCRIPTS[number].title + " …" if number < len(SCRIPTS) else "Stopping everything …"
        self._show()
        if not self._live:
            self._print(lines(number, scene) + "\n")

    def _show(self) -> None:
        if self._live:
            self._live.update(self._view(), refresh=True)

    def _view(self) -> Group:
        shown = [table(self._scenes, width=self._console.width)] if self._scenes else []
        return Group(*shown, *([Spinner("dots", self._doing)] if self._doing else []))

    def _print(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, markup=False)
