"""How the guided run is shown: a table on a terminal, plain lines elsewhere, JSON for machines."""

import json
from collections.abc import Iterable
from dataclasses import asdict

from rich import box
from rich.table import Table
from rich.text import Text

from sidecar.demo.performance import Performance
from sidecar.demo.scenes import SCRIPTS, Exchange, Scene, times

TITLE = "Idempotency, on a real Envoy and a real Valkey"

_ROOMY = 100
"""Columns from which on each scene's promise has its place beside it."""


def table(scenes: Iterable[Scene], *, width: int) -> Table:
    """A section per scene: what was sent, what came back, how often it executed, whether as promised."""
    shown = Table(title=TITLE, title_style="bold", box=box.ROUNDED, header_style="bold")
    roomy = width >= _ROOMY
    shown.add_column("Scene", ratio=5 if roomy else None, width=None if roomy else 11)
    shown.add_column("Sent", ratio=6)
    shown.add_column("Came back", ratio=6)
    shown.add_column("Executed", justify="center")
    shown.add_column("As\npromised", justify="center")
    for scene in scenes:
        first, *rest = scene.exchanges
        promise = f"\n[dim]{scene.promise}[/dim]" if roomy else ""
        title = f"[bold cyan]{scene.title}[/bold cyan]{promise}"
        shown.add_row(title, Text(first.sent), Text(first.received), times(scene.executed), _mark(scene))
        for exchange in rest:
            shown.add_row("", Text(exchange.sent), Text(exchange.received))
        if scene.broken:
            shown.add_row("", "", Text("not: " + ", ".join(scene.broken), style="bold red"))
        shown.add_section()
    return shown


def _mark(scene: Scene) -> Text:
    return Text("✓", style="bold green") if scene.as_promised else Text("✗", style="bold red")


def lines(number: int, scene: Scene) -> str:
    """One scene as plain text."""
    verdict = "as promised" if scene.as_promised else "NOT AS PROMISED: " + "; ".join(scene.broken)
    return "\n".join(
        [
            f"{number}. {scene.title}: {scene.promise}",
            *(_plain(exchange) for exchange in scene.exchanges),
            f"   executed  {times(scene.executed)} - {verdict}",
        ]
    )


def _plain(exchange: Exchange) -> str:
    came_back = exchange.received.replace("\n", "\n             ")
    return f"   sent      {exchange.sent}\n   came back {came_back}"


def closing(performance: Performance) -> str:
    """The last line."""
    kept = sum(scene.as_promised for scene in performance.scenes)
    executed = sum(scene.executed for scene in performance.scenes)
    if performance.as_promised:
        return (
            f"All {kept} scenes as promised, {executed} payments executed, none of them twice "
            f"({performance.seconds:g} s). Your turn: idempotency-sidecar up --upstream http://HOST:PORT"
        )
    return f"Only {kept} of {len(SCRIPTS)} scenes went as promised ({performance.seconds:g} s)."


def as_json(performance: Performance) -> str:
    """Everything, as one object."""
    scenes = [{**asdict(scene), "as_promised": scene.as_promised} for scene in performance.scenes]
    return json.dumps(
        {"as_promised": performance.as_promised, "seconds": performance.seconds, "scenes": scenes}, indent=2
    )
