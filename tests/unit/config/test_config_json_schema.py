"""The JSON Schema for editors: it takes every good file, and marks most of what is wrong in the bad ones."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from sidecar.config import reference
from sidecar.config.json_schema import json_schema
from sidecar.config.schema import Config
from sidecar.config.shape import walk

GOOD = sorted(Path("tests/configs/good").glob("*.yaml"))
BAD = sorted(Path("tests/configs/bad").glob("*.yaml"))
VALIDATOR = Draft202012Validator(json_schema())

UNSEEN = {
    # what stands in other sections, or in another policy
    "admin-meets-listen", "admin-meets-listen-by-default", "execution-detached-without-origin",
    "fingerprint-body-none-with-derived",
    "outcomes-grpc-derived",
    "outcomes-grpc-detached", "key-window-not-over-lease", "policy-name-twice",
    "socket-mode-on-a-port", "store-memory-with-workers", "ttl-not-over-lease", "ttl-not-over-default-lease",
    # numbers inside of texts: bounds of durations and sizes, of ports and lengths
    "admin-ports-run-out", "deadline-too-long", "in-progress-retry-after", "in-progress-retry-after-zero",
    "lease-too-long", "lease-too-short", "listen-port-too-high", "listen-port-zero",
    "listen-ports-run-out", "host-port",
    "socket-mode-not-octal", "listen-path-too-long", "max-response-body", "store-timeout-too-long",
    "store-timeout-zero", "tombstone-too-long", "ttl-too-long",
    "key-name-too-long", "key-name-not-a-parameter", "route-not-printable",
    # names that are well formed and still cannot be meant
    "key-name-hop-by-hop", "key-name-host", "key-name-our-own",
    "key-name-request-id", "key-name-forwarded", "key-name-authorization",
    "path-too-many-wildcards", "path-not-normalised", "scope-part-twice",
    # addresses, read in full only by whoever connects; files, which an editor does not open
    "admin-empty-label", "origin-url-empty-label",
    "store-url-bad-database", "store-url-bad-option", "store-url-bad-port",
    "store-url-file-missing", "store-url-fragment", "store-url-malformed-with-password", "store-url-no-host",
    "store-url-password", "store-url-password-in-option", "store-url-tls-option-without-tls",
    "tls-files-not-pem",
    # YAML itself
    "yaml-key-given-twice",
}  # fmt: skip
"""Bad files that the schema has to let pass; `check` is there for them."""


class Editor(yaml.SafeLoader):
    """Reads scalars as an editor does, by the core schema of YAML 1.2 (§10.3.2); keys are texts."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - as the base class has it

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        return {str(key): value for key, value in super().construct_mapping(node, deep).items()}


for tag, pattern, first in [
    ("null", r"(?:~|null|Null|NULL|)\Z", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)\Z", list("tTfF")),
    ("int", r"[-+]?[0-9]+\Z", list("-+0123456789")),
    ("merge", r"<<\Z", ["<"]),
]:
    Editor.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), first)
Editor.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))


def as_an_editor_reads(file: Path) -> Any:
    return yaml.load(file.read_text(encoding="utf-8"), Loader=Editor)  # noqa: S506 - makes plain values alone


def faults(text: str) -> list[str]:
    value = yaml.load(text, Loader=Editor)  # noqa: S506 - as above
    return [str(error.json_path) for error in VALIDATOR.iter_errors(value)]


def test_the_schema_is_one_of_its_dialect() -> None:
    Draft202012Validator.check_schema(json_schema())
    assert json_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.stem)
def test_every_good_file_is_one_for_an_editor_as_well(file: Path) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(as_an_editor_reads(file))] == []


def test_the_file_of_all_defaults_is_one_too() -> None:
    assert faults(reference.defaults()) == []


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_a_bad_file_is_marked_in_the_editor_unless_it_is_known_to_pass(file: Path) -> None:
    try:
        is_marked = not VALIDATOR.is_valid(as_an_editor_reads(file))
    except (yaml.YAMLError, RecursionError, ValueError):
        is_marked = True
    assert is_marked == (file.stem not in UNSEEN)


def test_most_bad_files_are_marked() -> None:
    assert {file.stem for file in BAD} >= UNSEEN
    assert len(UNSEEN) * 2 < len(BAD)


@pytest.mark.parametrize(
    ("key", "is_right"),
    [
        ("{from: header}", True),
        ("{name: X-Key, format: strict}", True),
        ("{from: query, name: key}", True),
        ("{from: query}", False),
        ("{from: query, name: null}", False),
        ("{from: query, name: key, format: strict}", False),
        ("{from: json, name: /a/b}", True),
        ("{from: json, name: a}", False),
        ("{from: derived, window: 1h}", True),
        ("{from: derived, name: a}", False),
        ("{window: 1h}", False),
    ],
)
def test_an_editor_knows_what_goes_with_the_place_of_a_key(key: str, is_right: bool) -> None:
    assert (faults(f"policies: [{{name: a, key: {key}}}]") == []) is is_right


def test_what_is_left_out_of_a_body_needs_a_body_of_json() -> None:
    assert faults("policies: [{name: a, fingerprint: {body: json, omit: [/at]}}]") == []
    assert faults("policies: [{name: a, fingerprint: {omit: [/at]}}]") != []


def properties(schema: dict[str, Any]) -> list[dict[str, Any]]:
    found = list(schema.get("properties", {}).values())
    return found + [deep for each in found for deep in properties(each.get("items") or each)]


def test_every_field_is_there_with_its_description_and_every_default_is_right_by_the_schema() -> None:
    fields = properties(json_schema())

    assert len(fields) == len(list(walk(Config)))
    assert all(field["description"] for field in fields)
    for field in fields:
        if "default" in field:
            assert Draft202012Validator(field).is_valid(field["default"])


def test_an_unknown_field_is_marked_where_it_stands() -> None:
    assert faults("store: {urll: 'memory:'}") == ["$.store"]
    assert faults("policies: [{name: a, leese: 1s}]") == ["$.policies[0]"]
