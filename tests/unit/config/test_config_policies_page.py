"""docs/policies.md: its examples are configurations that work, without a warning, and mean what it says."""

import re
from pathlib import Path

import pytest

from sidecar.cli.explanation import explain, read_request
from sidecar.config.dangers import dangers
from sidecar.config.loading import Loaded, read
from sidecar.config.quantities import format_size
from sidecar.idempotency import json_text

PAGE = Path("docs/policies.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(policies:\n.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def loaded(tmp_path: Path, example: str) -> Loaded:
    file = tmp_path / "sidecar.yaml"
    file.write_text(example, encoding="utf-8")
    return read(file, {})


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) == PAGE.count("```yaml") == 4


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_can_be_used_and_is_not_dangerous(tmp_path: Path, example: str) -> None:
    assert dangers(loaded(tmp_path, example)) == []


def test_the_exception_before_the_rule_is_one_and_behind_it_would_be_warned_of(tmp_path: Path) -> None:
    rule = loaded(tmp_path, EXAMPLES[0])
    preview = read_request("POST https://api.example.com/v1/payments/preview", [], "")
    assert explain(rule.settings.policies, preview).verdict == "passes untouched: previews is off"

    head, previews, payments = re.split(
        r"^(?=  - )", EXAMPLES[0].replace("mode: off", "mode: shadow"), flags=re.MULTILINE
    )
    (danger, *_) = dangers(loaded(tmp_path, head + payments + previews))
    assert danger.message.startswith("payments stands before it and matches every request that previews does")


def test_the_limit_that_the_page_names_is_the_one_that_holds() -> None:
    assert f"{format_size(json_text.MAX_BYTES)} is the most" in PAGE
