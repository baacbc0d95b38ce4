"""What a run of the suite showed: for each row, on each Envoy, over each transport."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pytest

from tests.envoys.programs import Version

FETCH_FAILURES = pytest.StashKey[Mapping[Version, str]]()
"""Why a version could not be fetched, by version; set where somebody tried."""

Row: TypeAlias = str
"""What was tried, as a sentence."""


@dataclass(frozen=True)
class Pairing:
    """An Envoy and the transport over which it reaches the sidecar."""

    version: Version
    transport: str

    def __str__(self) -> str:
        return f"{self.version}-{self.transport}"


@dataclass(frozen=True)
class Works:
    """Tried, and it does."""


@dataclass(frozen=True)
class Lacks:
    """Tried, and it does not, as is known and for a reason that is known."""

    why: str


@dataclass(frozen=True)
class Open:
    """Not tried, or with a result that is not the known one: nothing that can be written down."""

    why: str


Finding: TypeAlias = Works | Lacks | Open


@dataclass
class Results:
    """A plugin of pytest that collects the findings of one run, rows in the order of the tests."""

    fetch_failures: Mapping[Version, str] = field(default_factory=dict)
    findings: dict[Row, dict[Pairing, Finding]] = field(default_factory=dict)

    def pytest_configure(self, config: pytest.Config) -> None:
        """Tell the suite why versions are not there."""
        config.stash[FETCH_FAILURES] = self.fetch_failures

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Take down what each test on a stack came to; a set-up that fails or skips is what it came to."""
        report = yield
        pairing = pairing_of(item)
        if pairing is not None and (report.when == "call" or report.outcome != "passed"):
            self.findings.setdefault(row_of(item), {})[pairing] = finding(report)
        return report

    def open(self) -> dict[str, str]:
        """The findings that keep these results from being written down: why, by row and pairing."""
        return {
            f"{row} ({pairing})": each.why
            for row, by_pairing in self.findings.items()
            for pairing, each in by_pairing.items()
            if isinstance(each, Open)
        }


def row_of(item: Any) -> Row:
    """The row of a test: its name, which is a sentence."""
    return str(item.originalname).removeprefix("test_").replace("_", " ")


def pairing_of(item: Any) -> Pairing | None:
    """What a test runs on; None for one that runs on no stack."""
    callspec = getattr(item, "callspec", None)
    found = None if callspec is None else callspec.params.get("stack")
    return found if isinstance(found, Pairing) else None


def finding(report: pytest.TestReport) -> Finding:
    """What one report of pytest's says about its row."""
    if report.when == "call" and report.outcome == "passed":
        return Works()
    if report.when == "call" and report.outcome == "skipped" and hasattr(report, "wasxfail"):
        return Lacks(report.wasxfail)
    return Open(f"{report.when} {report.outcome}")
