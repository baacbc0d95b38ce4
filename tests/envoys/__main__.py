"""`python -m tests.envoys`: fetch every pinned Envoy, run the suite over all of them, write the page.

Arguments go to pytest. The page is written by a run of everything, where all went as it is known to go.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.envoys.page import PAGE, render
from tests.envoys.programs import FetchError, Version, fetch, find_program, pinned_versions
from tests.envoys.results import Results

_SUITE = sorted(map(str, Path(__file__).parent.glob("test_each_envoy_*.py")))
"""What is run on Envoys; not the test that wants the page to be what this run may be about to make it."""


def main(arguments: Sequence[str]) -> int:
    """The exit status of pytest: 0 also where versions could not be fetched; those are skipped, and named."""
    results = Results(fetch_all())
    status = int(pytest.main([*_SUITE, "-q", "-rfEs", *arguments], plugins=[results]))
    if status == 0 and not arguments:
        _say(write(results, PAGE))
    return status


def fetch_all() -> dict[Version, str]:
    """Have every version here; why not, for those that are not to be had."""
    failures: dict[Version, str] = {}
    for version in pinned_versions():
        if find_program(version) is None:
            _say(f"fetching Envoy {version}")
            try:
                fetch(version)
            except FetchError as error:
                failures[version] = str(error)
                _say(f"Envoy {version} cannot be had: {error}")
    return failures


def write(results: Results, page: Path) -> str:
    """Write the page, where the results tell all of it; what became of it, in a line."""
    untold = results.open()
    if untold:
        return f"{page.name} is left as it is, for {len(untold)} of its results are not there"
    text = render(results.findings)
    if page.exists() and page.read_text(encoding="utf-8") == text:
        return f"{page.name} is what was found"
    page.write_text(text, encoding="utf-8")
    return f"{page.name} is written"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
