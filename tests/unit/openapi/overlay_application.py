"""Applies an Overlay, as the Overlay Specification 1.0.0 says and no more than it says.

Its wording leaves open what becomes of a list in an object that is merged: here that is an error.
"""

import copy
import re
from collections.abc import Mapping
from typing import Any

_STEP = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)|\['((?:[^'\\]|\\.)*)'\]")


def apply(overlay: Mapping[str, Any], description: Any) -> Any:
    """The description with every action applied in turn; each has to find its target."""
    changed = copy.deepcopy(description)
    for action in overlay["actions"]:
        target = changed
        for step in steps(action["target"]):
            target = target[step]
        _update(target, copy.deepcopy(action["update"]))
    return changed


def steps(target: str) -> list[str]:
    """The names on the way that a JSONPath describes."""
    assert target.startswith("$")
    found = list(_STEP.finditer(target, 1))
    assert "".join(match[0] for match in found) == target[1:], target
    return [match[1] or re.sub(r"\\(.)", r"\1", match[2]) for match in found]


def _update(target: Any, update: Any) -> None:
    if isinstance(target, list):
        target.append(update)
        return
    for name, value in update.items():
        assert name not in target, f"{name} is replaced"
        target[name] = value
