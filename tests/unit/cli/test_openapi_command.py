import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from sidecar.__main__ import app

SPEC = """\
openapi: 3.0.3
info: {title: Shop, version: "1"}
paths:
  /orders:
    post:
      responses: {"200": {description: ok}}
"""
SERVERS = "servers: [{url: 'https://{h}/', variables: {h: {X}}}]\n"


def run(directory: Path, spec: str, *arguments: str) -> tuple[int, str, str]:
    config, description = directory / "sidecar.yaml", directory / "shop.yaml"
    config.write_text("policies: [{name: orders}]\n")
    description.write_text(spec)
    result = CliRunner().invoke(app, ["openapi", "--config", str(config), str(description), *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_the_overlay_is_printed_as_yaml_or_as_json(tmp_path: Path) -> None:
    as_yaml, as_json = run(tmp_path, SPEC), run(tmp_path, SPEC, "--json")

    assert (as_yaml[0], as_yaml[2]) == (0, "")
    assert yaml.safe_load(as_yaml[1]) == json.loads(as_json[1])
    assert yaml.safe_load(as_yaml[1])["actions"][1]["target"] == "$.paths['/orders'].post"
    assert "&id" not in as_yaml[1], "no anchors: not every tool that reads YAML reads them"


def test_a_description_may_be_json_with_tabs(tmp_path: Path) -> None:
    written = json.dumps(yaml.safe_load(SPEC), indent="\t")

    assert run(tmp_path, written)[1] == run(tmp_path, SPEC)[1]


def test_that_nothing_is_covered_is_an_answer(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, SPEC.replace("post", "get"))

    assert (code, out) == (1, "")
    assert "covers an operation" in err


@pytest.mark.parametrize(
    ("spec", "line", "said"),
    [
        (SPEC.replace("3.0.3", "2.0"), 1, '"2.0" is not a version; allowed: openapi: 3.0.x'),
        (SPEC.replace("/orders:", "/orders: x\n  /more:"), 4, "the path /orders is not a mapping"),
        (SPEC.replace('{"200": {description: ok}}', "[]"), 6, "responses is not a mapping"),
        (SPEC.replace("    post:\n", "    post:\n      parameters: 1\n"), 6, "parameters is not a list"),
        (SPEC + "servers: [{url: 'http://['}]\n", 5, '"http://[" is not a URL'),
        (SPEC + SERVERS.replace("X", "enum: 5"), 5, 'the enum of the server variable "h" is not a list'),
        (SPEC + SERVERS.replace("X", "enum: ['[']"), 5, '"https://[/" is not a URL'),
        (SPEC + SERVERS.replace("X", "default: '['"), 5, '"https://[/" is not a URL'),
        ("[" * 200_000, 1, "nested more than 256 deep; allowed: 256 levels"),
        ("[1]", 1, "the document is not a mapping"),
        ("a: b: c", 1, "not YAML: "),
        ('{"a":\n 1,}', 2, "not JSON: "),
        ("a: \x00", 1, "not YAML: "),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, spec: str, line: int, said: str) -> None:
    code, out, err = run(tmp_path, spec)

    assert (code, out) == (1, "")
    assert err.startswith(f"{tmp_path}/shop.yaml:{line}: ")
    assert said in err
    assert "; allowed: " in err
    assert err.count("\n") == 1


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "sidecar.yaml").write_text("policies: [{name: orders}]\n")
    arguments = ["openapi", "--config", f"{tmp_path}/sidecar.yaml", f"{tmp_path}/none.yaml"]

    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"{tmp_path}/none.yaml: the file cannot be read: ")


def test_a_bad_configuration_is_told_line_by_line(tmp_path: Path) -> None:
    run(tmp_path, SPEC)
    (tmp_path / "sidecar.yaml").write_text("polices: []\nserver: {worker: 1}\n")

    result = CliRunner().invoke(
        app, ["openapi", "--config", f"{tmp_path}/sidecar.yaml", f"{tmp_path}/shop.yaml"]
    )
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 2


def test_no_configuration_is_a_usage_error() -> None:
    assert CliRunner().invoke(app, ["openapi", "shop.yaml"]).exit_code == 2
