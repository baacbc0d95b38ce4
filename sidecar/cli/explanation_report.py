"""How an explanation is shown: aligned lines for a person, one object for a machine."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from rich.text import Text

from sidecar.cli.explanation import Explanation

_WIDTH = 12


def as_object(explanation: Explanation) -> dict[str, Any]:
    """Everything, as JSON has it; `considered` says of each policy whether it applies, and why not."""
    answer = dataclasses.asdict(explanation)
    for considered in answer["considered"]:
        considered["applies"] = not considered["because"]
    return answer


def lines(explanation: Explanation) -> Iterator[Text]:
    """A line for each thing there is to say, with its name before it."""
    yield _line("request", explanation.request)
    for considered in explanation.considered:
        why = "; ".join(considered.because)
        yield _line(
            "policy",
            f"{considered.policy} does not apply: {why}"
            if why
            else f"{considered.policy} applies: all of its match holds",
            "dim" if why else "bold",
        )
    yield _line("so it", explanation.verdict, "bold")
    if explanation.key:
        yield _line("key", explanation.key)
        yield _line("no key", explanation.without_key)
        yield _line("scope", ", ".join(explanation.scope))
        yield _line("same if", f"equal in {', '.join(explanation.fingerprint)}")


def _line(name: str, text: str, style: str = "") -> Text:
    return Text.assemble((name.ljust(_WIDTH), "cyan"), (text, style))
