"""The reference is the schema, and the committed page is the reference."""

from pathlib import Path

import pytest

from sidecar.config import reference
from sidecar.config.loading import load
from sidecar.config.schema import Config
from sidecar.config.shape import field_at, fields, is_list, section_at, walk


def test_the_committed_page_is_the_one_that_the_schema_gives() -> None:
    assert Path("docs/configuration.md").read_text(encoding="utf-8") == reference.render(), "run `make docs`"


def test_the_file_of_all_defaults_is_the_configuration_without_a_file(tmp_path: Path) -> None:
    file = tmp_path / "defaults.yaml"
    file.write_text(reference.defaults())

    assert load(file, {}) == load(None, {})


def test_every_field_has_a_row_of_five_cells() -> None:
    rows = [line for line in reference.render().splitlines() if line.startswith("| `")]

    names = [name.partition(".")[2] for name, _ in walk(Config)]
    assert [row.split("`")[1] for row in rows] == [name for name in names if name]
    for row in rows:
        assert row.replace("\\|", "").count("|") == 6


def test_every_field_is_described_and_says_what_is_allowed() -> None:
    for name, field in walk(Config):
        assert (field.description or "").endswith("."), name


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("lease", "| `lease` | duration | `30s` | 1s to 1h | How long a claim stands"),
        ("mode", "| `mode` | word | `enforce` | enforce, shadow or off |"),
        ("name", "| `name` | policy's name | required |"),
        ("outcomes", "| `outcomes` | mapping of status to word | `{}` |"),
        ("match.methods", "| `match.methods` | list of methods | `[POST, PATCH]` |"),
    ],
)
def test_a_row_shows_type_default_and_what_is_allowed_as_they_are_written(name: str, row: str) -> None:
    found = [line for line in reference.render().splitlines() if line.startswith(f"| `{name}` |")]

    assert found[0].startswith(row)


def test_the_schema_tells_what_stands_at_a_path() -> None:
    policy = section_at(("policies", 3))

    assert policy is not None
    assert "lease" in fields(policy)
    assert section_at(("policies", 0, "lease")) is None
    assert section_at(("nowhere", "else")) is None
    assert field_at(("nowhere", "else")) is None
    assert field_at(()) is None
    assert is_list(("policies",))
    assert is_list(("policies", 0, "match", "methods"))
    assert not is_list(("policies", 0))
    assert not is_list(("policies", 0, "outcomes"))
