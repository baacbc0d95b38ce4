"""docs/compatibility.md: the findings of a run, for people who choose an Envoy."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from tests.envoys.programs import Version
from tests.envoys.results import Finding, Lacks, Pairing, Row, Works

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"

Findings: TypeAlias = Mapping[Row, Mapping[Pairing, Finding]]

_HEAD = """\
# Envoy versions

Made by `make envoys` from a run; changes belong into `tests/envoys`. Each row is a test there, by its name:
`idempotency-sidecar up` with two workers, a real Valkey and the real Envoy of that version, over each of the
sidecar's transports ({transports}). A cell that names no transport is what all of them showed.

{summary}
"""


def render(findings: Findings) -> str:
    """The page. A `no` is known, has a reason, and was seen; findings that are open have no place here.

    Raises:
        ValueError: A finding is open, or a row was not tried in every pairing.
    """
    pairings = list(dict.fromkeys(pairing for each in findings.values() for pairing in each))
    versions = list(dict.fromkeys(pairing.version for pairing in pairings))
    notes: list[str] = []
    rows = [
        [row, *(_cell(version, pairings, by_pairing, notes) for version in versions)]
        for row, by_pairing in findings.items()
    ]
    transports = ", ".join(f"`{name}`" for name in dict.fromkeys(pairing.transport for pairing in pairings))
    head = _HEAD.format(transports=transports, summary=_summary(versions, rows))
    numbered = [f"{number}. {note}" for number, note in enumerate(notes, 1)]
    return "\n".join([head, *_table(versions, rows), "", *numbered, ""])


def _cell(
    version: Version, pairings: Sequence[Pairing], by_pairing: Mapping[Pairing, Finding], notes: list[str]
) -> str:
    """What was found on a version, over its transports; reasons go to the notes, each one once."""
    said = {
        pairing.transport: _said(by_pairing.get(pairing), notes)
        for pairing in pairings
        if pairing.version == version
    }
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    return ", ".join(f"{transport}: {word}" for transport, word in said.items())


def _said(finding: Finding | None, notes: list[str]) -> str:
    match finding:
        case Works():
            return "yes"
        case Lacks(why):
            if why not in notes:
                notes.append(why)
            return f"no ({notes.index(why) + 1})"
        case _:
            raise ValueError(f"a finding to be written down is {finding}")


def _summary(versions: Sequence[Version], rows: Sequence[Sequence[str]]) -> str:
    whole = [
        version for column, version in enumerate(versions, 1) if all(row[column] == "yes" for row in rows)
    ]
    if whole == list(versions):
        return "Everything below works on all of them."
    works = f"on {_listed(whole)} only" if whole else "on none of them"
    return (
        f"**Everything below works {works}.** The notes say what the others lack, and what happens instead."
    )


def _listed(versions: Sequence[Version]) -> str:
    *others, last = versions
    return f"{', '.join(others)} and {last}" if others else last


def _table(versions: Sequence[Version], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [["what was tried", *versions], ["---"] * (len(versions) + 1), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]
