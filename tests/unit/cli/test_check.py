"""`check FILE`, as a person and as a machine see it."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from sidecar.cli.check import check
from sidecar.config.json_schema import json_schema

GOOD, BAD = Path("tests/configs/good"), Path("tests/configs/bad")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IDEMPOTENCY__SERVER__WORKERS", raising=False)


def run(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(check)
    return CliRunner().invoke(app, arguments)


def test_a_good_file_is_ok_in_one_line() -> None:
    result = run(f"{GOOD}/keys-anywhere.yaml")

    assert result.exit_code == 0
    assert result.stdout == (
        f"{GOOD}/keys-anywhere.yaml: ok (4 policies: tools, links, repeats, whole-day), 1 warning\n"
    )


def test_what_is_dangerous_is_said_beside_it_and_leaves_the_answer_a_yes() -> None:
    result = run(f"{GOOD}/detached.yaml")

    assert result.exit_code == 0
    assert result.stdout.endswith("ok (2 policies: transfers, notes), 2 warnings\n")
    retry, lease, token = result.stderr.splitlines()
    assert retry.startswith(f"warning: {GOOD}/detached.yaml:13: policies[0].unknown: ")
    assert lease.startswith(f"warning: {GOOD}/detached.yaml:8: policies[0].lease: ")
    assert token.startswith(f"note: {GOOD}/detached.yaml:8: policies[0].scope: ")


def test_strict_makes_warnings_a_no_and_notes_not() -> None:
    assert run(f"{GOOD}/detached.yaml", "--strict").exit_code == 1
    assert run(f"{GOOD}/minimal.yaml", "--strict").exit_code == 0


def test_a_single_policy_is_not_called_policies() -> None:
    assert run(f"{GOOD}/minimal.yaml").stdout == f"{GOOD}/minimal.yaml: ok (1 policy: default)\n"


def test_every_problem_of_a_bad_file_is_a_line_and_the_answer_is_no() -> None:
    result = run(f"{BAD}/scope-metadata-without-key.yaml")

    assert result.exit_code == 1
    assert result.stdout == ""
    first, second, _, summary = result.stderr.splitlines()
    assert first.startswith(f"{BAD}/scope-metadata-without-key.yaml:6: policies[0].scope[0]: ")
    assert second.startswith(f"{BAD}/scope-metadata-without-key.yaml:6: policies[0].scope[1]: ")
    assert summary == f"{BAD}/scope-metadata-without-key.yaml: 3 problems"


def test_a_missing_file_is_a_problem_and_no_traceback(tmp_path: Path) -> None:
    result = run(str(tmp_path / "none.yaml"))

    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == f"{tmp_path}/none.yaml: 1 problem"
    assert "Traceback" not in result.output


def test_a_machine_gets_a_good_file_as_one_object() -> None:
    result = run("--json", f"{GOOD}/minimal.yaml")

    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    (note,) = answer.pop("warnings")
    assert answer == {
        "ok": True,
        "file": f"{GOOD}/minimal.yaml",
        "policies": ["default"],
        "problems": [],
    }
    assert list(note) == ["file", "line", "field", "message", "safe", "level"]
    assert (note["line"], note["field"], note["level"]) == (2, "policies[0].scope", "note")


def test_a_machine_gets_every_problem_with_its_parts() -> None:
    result = run(f"{BAD}/lease-no-unit.yaml", "--json")

    assert result.exit_code == 1
    assert result.stderr == ""
    answer = json.loads(result.stdout)
    assert not answer["ok"]
    assert answer["problems"] == [
        {
            "file": f"{BAD}/lease-no-unit.yaml",
            "line": 4,
            "field": "policies[0].lease",
            "message": '"30" is not a duration',
            "allowed": "a number with ms, s, m, h or d, such as 30s",
        }
    ]


def test_the_environment_counts_as_it_would_for_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDEMPOTENCY__SERVER__WORKERS", "many")

    result = run(f"{GOOD}/minimal.yaml")

    assert result.exit_code == 1
    assert result.stderr.startswith(
        'IDEMPOTENCY__SERVER__WORKERS: server.workers: "many" is not a whole number; '
    )


CALLS = """
policies:
  - {name: calls, match: {paths: ["/bank.Payments/*"]}, outcomes: {"grpc:ABORTED": record}, scope: [peer]}
  - {name: lookups, match: {methods: [HEAD]}, scope: [peer]}
  - {name: orders, match: {paths: ["/orders/**"]}, scope: [peer]}
  - {name: unused, mode: off}
"""


@pytest.fixture
def calls(tmp_path: Path) -> str:
    file = tmp_path / "calls.yaml"
    file.write_text(CALLS)
    return str(file)


def test_a_policy_that_is_of_no_use_with_an_old_envoy_is_a_problem_and_one_that_is_in_part_a_warning(
    calls: str,
) -> None:
    result = run(calls, "--envoy-version", "1.36")

    assert result.exit_code == 1
    warning, grpc, head, summary = result.stderr.splitlines()
    assert warning.startswith(
        f"warning: {calls}:5: policies[2]: orders: Envoy 1.36 cannot replay gRPC calls, and "
    )
    assert grpc.startswith(
        f"{calls}:3: policies[0]: calls: Envoy 1.36 cannot replay gRPC calls: a retry gets "
    )
    assert grpc.endswith("; allowed: an Envoy 1.37 or newer, or a policy without them")
    assert head.startswith(f"{calls}:4: policies[1]: lookups: Envoy 1.36 cannot replay answers to HEAD: ")
    assert summary == f"{calls}: 2 problems"


def test_warnings_alone_leave_the_answer_a_yes() -> None:
    result = run(f"{GOOD}/minimal.yaml", "--envoy-version", "1.36.4", "--json")

    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert (answer["ok"], answer["problems"]) == (True, [])
    assert [warning["field"] for warning in answer["warnings"]] == ["policies[0].scope", "policies[0]"]


@pytest.mark.parametrize("version", ["1.37", "1.38.3", "1.39", "1.40"])
def test_the_others_do_all_that_a_policy_can_ask_for(version: str, calls: str) -> None:
    result = run(calls, "--envoy-version", version)

    assert (result.exit_code, result.stderr) == (0, "")


def test_an_envoy_that_is_not_supported_is_a_usage_error(calls: str) -> None:
    result = run(calls, "--envoy-version", "1.35")

    assert result.exit_code == 2
    assert result.stderr.startswith("--envoy-version 1.35 is not available; allowed: 1.36, ")


def test_no_file_at_all_is_a_usage_error() -> None:
    result = run()

    assert result.exit_code == 2
    assert result.stderr == "there is no FILE to check; allowed: one, or --schema without any\n"


def test_the_schema_for_editors_is_printed_without_a_file() -> None:
    result = run("--schema")

    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == json_schema()


@pytest.mark.parametrize("more", [(f"{GOOD}/minimal.yaml",), ("--explain", "POST http://a/")])
def test_the_schema_is_of_no_particular_file(more: tuple[str, ...]) -> None:
    result = run("--schema", *more)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "--schema is the same for every file; allowed: without FILE and --explain\n"
