from pathlib import Path
from typing import Any

import pytest

from sidecar.config.errors import ConfigError
from sidecar.openapi import specification
from sidecar.openapi.specification import Operation, Specification

HEAD = 'openapi: 3.1.0\ninfo: {title: T, version: "1"}\n'


def read(directory: Path, content: str | bytes) -> Specification:
    file = directory / "api.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Specification.read(file)


def operations(directory: Path, content: str) -> list[Operation]:
    return list(read(directory, HEAD + content).operations())


def test_the_nearest_servers_are_those_of_an_operation(tmp_path: Path) -> None:
    found = operations(
        tmp_path,
        "servers: [{url: /root}]\n"
        "paths:\n"
        "  /a: {get: {}, post: {servers: [{url: /own}]}}\n"
        "  /b: {servers: [{url: /path}], put: {}}\n",
    )

    urls = {(each.method, each.path): each.servers[0] for each in found}
    assert urls == {("get", "/a"): "/root", ("post", "/a"): "/own", ("put", "/b"): "/path"}
    assert operations(tmp_path, "paths: {/a: {get: {}}}\n")[0].servers == ("/",)


def test_parameters_are_those_of_the_path_and_of_the_operation_through_references(tmp_path: Path) -> None:
    (found,) = operations(
        tmp_path,
        "components: {parameters: {K/1: {name: X-Key, in: header}}}\n"
        "paths:\n"
        "  /a:\n"
        "    parameters: [{$ref: '#/components/parameters/K~11'}, {$ref: 'other.yaml#/K'}]\n"
        "    get: {parameters: [{name: Page, in: query}, {$ref: '#/nowhere'}]}\n",
    )

    assert found.parameters == {("header", "x-key"), ("query", "Page"), ("", "")}


def test_what_is_no_path_and_no_method_is_passed_over(tmp_path: Path) -> None:
    found = operations(tmp_path, "paths: {x-note: 1, /a: {summary: s, $ref: 'a.yaml'}}\n")

    assert found == []
    assert operations(tmp_path, "") == []


def refused(directory: Path, content: str | bytes) -> str:
    with pytest.raises(ConfigError) as error:
        list(read(directory, content).operations())
    return str(error.value).removeprefix(f"{directory}/api.yaml")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"openapi: 3.0.0\ninfo: \xff", ":2: the file is not UTF-8; allowed: "),
        ("a: 2024-13-45\n", ":1: not YAML: "),
        ("a:\n- " + "[" * 200_000, ":2: nested more than 256 deep; allowed: 256 levels"),
        (f'{{"a": {"[" * 256}{"]" * 256}}}', ":1: nested more than 256 deep; allowed: 256 levels"),
        ('{"a":' * 200_000 + "0" + "}" * 200_000, ":1: nested more than 256 deep; allowed: 256 levels"),
        ("a: !!python/name:os.system x\n", ":1: not YAML: could not determine a constructor"),
        ("a:\n- !!bool x\n", ':2: not YAML: "x" is no bool; allowed: well-formed YAML'),
        ("a: !!timestamp x\n", ':1: not YAML: "x" is no timestamp; allowed: '),
        ("a: !!int ''\n", ':1: not YAML: "" is no int; allowed: '),
        (f"a: 1{':00' * 200}.5\n", ':1: not YAML: "1:00:00:'),
        ('{"openapi": "\\ud800"}', ":1: "),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(tmp_path: Path, content: str | bytes, said: str) -> None:
    message = refused(tmp_path, content)

    assert message.startswith(said)
    assert "\n" not in message


def test_a_problem_in_a_list_is_told_with_the_line_of_its_item(tmp_path: Path) -> None:
    paths = "paths:\n  /a:\n    get:\n      parameters:\n      - {name: a, in: query}\n      - b\n"

    assert refused(tmp_path, HEAD + paths).startswith(":8: a parameter is not a mapping; allowed: a mapping")


def test_a_file_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(specification, "_MAX_FILE", 10)

    assert refused(tmp_path, HEAD) == ": the file is larger than 32MiB; allowed: at most 32MiB"


def test_an_alias_is_what_it_stands_for(tmp_path: Path) -> None:
    bomb = "".join(f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 9)}]\n" for level in range(1, 12))
    found: Any = operations(tmp_path, f"l0: &l0 [x]\n{bomb}paths: {{/a: &a {{get: {{}}}}, /b: *a}}\n")

    assert [each.path for each in found] == ["/a", "/b"]


@pytest.mark.parametrize("nested", ["[" * 250 + "]" * 250, f'{{"a": {"[" * 250}{"]" * 250}}}'])
def test_what_is_nested_less_than_that_is_read(tmp_path: Path, nested: str) -> None:
    assert operations(tmp_path, f"x: {nested}\npaths: {{/a: {{get: {{}}}}}}\n")


def test_what_has_to_be_a_text_is_none_where_aliases_nest_it_beyond_all_limits(tmp_path: Path) -> None:
    levels = "".join(f"l{n}: &l{n} {'[' * 250}*l{n - 1}{']' * 250}\n" for n in range(1, 9))
    deep = f"l0: &l0 [x]\n{levels}info: {{title: *l8, version: *l8}}\n"
    found = read(tmp_path, f"openapi: 3.1.0\n{deep}paths: {{/a: {{get: {{parameters: [{{in: *l8}}]}}}}}}\n")

    assert found.title() == ("the API", "1")
    assert [each.parameters for each in found.operations()] == [{("", "")}]
    assert refused(tmp_path, f"{deep}openapi: *l8\n").startswith(":11: a list is not a version; allowed: ")
