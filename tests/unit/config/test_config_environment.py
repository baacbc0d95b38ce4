"""Every value can be set from the environment, and what is wrong there names the variable."""

from pathlib import Path

import pytest

from sidecar.config.errors import ConfigError
from sidecar.config.loading import Settings, load

FILE = """\
server: {workers: 2}
policies:
  - name: payments
    lease: 1m
    outcomes: {"5xx": release}
    match: {methods: [POST]}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sidecar.yaml"
    path.write_text(FILE)
    return path


def with_environment(path: Path | None, **variables: str) -> Settings:
    return load(path, {f"IDEMPOTENCY__{name}": value for name, value in variables.items()})


def complaints(path: Path | None, **variables: str) -> list[tuple[str, str]]:
    """What is said, and what is said to be allowed."""
    with pytest.raises(ConfigError) as caught:
        with_environment(path, **variables)
    lines = [str(problem).split("; allowed: ", 1) for problem in caught.value.problems]
    return [(said, allowed) for said, allowed in lines]


def test_a_variable_wins_over_the_file(file: Path) -> None:
    settings = with_environment(file, SERVER__WORKERS="3", POLICIES__0__LEASE="5m")

    assert settings.server.workers == 3
    assert settings.policies.policies[0].lease_ms == 300_000
    assert settings.policies.policies[0].name == "payments"


def test_a_variable_sets_what_the_file_leaves_out(file: Path) -> None:
    settings = with_environment(
        file,
        STORE__ON_UNAVAILABLE="bypass",
        POLICIES__0__KEY__REQUIRED="true",
        POLICIES__0__OUTCOMES__503="record",
    )

    assert settings.policies.policies[0].bypass_when_unavailable
    (policy,) = settings.policies.policies
    assert policy.key.required
    assert policy.outcomes.overrides == {"5xx": "release", "503": "record"}


def test_without_a_file_variables_change_the_default_policy() -> None:
    settings = with_environment(None, POLICIES__0__KEY__REQUIRED="yes", POLICIES__0__OUTCOMES__429="record")

    (policy,) = settings.policies.policies
    assert (policy.name, policy.key.required, policy.outcomes.overrides) == (
        "default",
        True,
        {"429": "record"},
    )


def test_the_next_free_index_adds_a_policy(file: Path) -> None:
    settings = with_environment(file, POLICIES__1__NAME="orders", POLICIES__1__MATCH__PATHS='["/orders/**"]')

    assert [policy.name for policy in settings.policies.policies] == ["payments", "orders"]
    assert settings.policies.policies[1].match.paths[0].glob == "/orders/**"


def test_an_index_beyond_the_next_one_has_nothing_to_set(file: Path) -> None:
    assert complaints(file, POLICIES__2__NAME="orders") == [
        (
            "IDEMPOTENCY__POLICIES__2__NAME: policies[2].name: there is nothing to set here",
            "an index from 0 to 1",
        )
    ]


def test_an_item_of_a_list_of_values_can_be_set(file: Path) -> None:
    settings = with_environment(
        file, POLICIES__0__MATCH__METHODS__0="PUT", POLICIES__0__MATCH__HOSTS__0="a.example"
    )

    match = settings.policies.policies[0].match
    assert match.methods == {"PUT"}
    assert [host.host for host in match.hosts] == ["a.example"]


def test_a_whole_section_is_set_before_its_fields_whatever_their_order() -> None:
    settings = load(
        None,
        {"IDEMPOTENCY__STORE__PREFIX": "field", "IDEMPOTENCY__STORE": "{prefix: section, timeout: 1s}"},
    )

    assert (settings.store.prefix, settings.store.timeout_ms) == ("field", 1000)


@pytest.mark.parametrize(
    ("value", "prefix"),
    [("plain", "plain"), ('"quoted"', "quoted"), ("'quoted'", "quoted"), ("007", "007"), ("a:b", "a:b")],
)
def test_a_value_is_its_text_unless_it_begins_as_yaml(value: str, prefix: str) -> None:
    assert with_environment(None, STORE__PREFIX=value).store.prefix == prefix


@pytest.mark.parametrize("value", ["", "~", "null"])
def test_an_empty_value_is_null(file: Path, value: str) -> None:
    assert with_environment(file, POLICIES__0__DOCS_URL=value).policies.policies[0].docs_url is None


def test_variables_of_others_are_left_alone() -> None:
    assert load(None, {"IDEMPOTENCY_SIDECAR_PORT": "tcp://10.0.0.1:80", "PATH": "/bin"}) == load(None, {})


def test_an_unknown_name_is_an_error_that_says_the_near_one() -> None:
    assert complaints(None, STORE__URI="redis://redis", SERVR__WORKERS="1") == [
        (
            'IDEMPOTENCY__SERVR__WORKERS: servr: unknown field, did you mean "server"?',
            "server, store, origin, policies",
        ),
        (
            'IDEMPOTENCY__STORE__URI: store.uri: unknown field, did you mean "url"?',
            "url, prefix, timeout, on_unavailable, wait_replicas, encryption_keys",
        ),
    ]


@pytest.mark.parametrize("name", ["", "STORE__", "__STORE", "STORE____URL", "Store__Url", "store__url"])
def test_a_name_of_another_form_is_an_error(name: str) -> None:
    assert complaints(None, **{name: "x"}) == [
        (
            f"IDEMPOTENCY__{name}: not the name of a setting",
            "IDEMPOTENCY__SECTION__FIELD in upper case, such as IDEMPOTENCY__STORE__URL",
        )
    ]


def test_a_bad_value_names_the_variable_and_not_the_file(file: Path) -> None:
    assert complaints(file, POLICIES__0__LEASE="30") == [
        (
            'IDEMPOTENCY__POLICIES__0__LEASE: policies[0].lease: "30" is not a duration',
            "a number with ms, s, m, h or d, such as 30s",
        )
    ]


def test_problems_of_the_file_stand_before_those_of_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "sidecar.yaml"
    file.write_text("store:\n  timeout: 1\n")

    (first, _), (second, _) = complaints(file, SERVER__WORKERS="0")
    assert first.startswith(f"{file}:2: store.timeout: ")
    assert second.startswith("IDEMPOTENCY__SERVER__WORKERS: server.workers: ")


def test_a_replaced_section_takes_the_problems_of_the_file_with_it(tmp_path: Path) -> None:
    file = tmp_path / "sidecar.yaml"
    file.write_text("policies:\n  - lease: 1\n")

    assert complaints(file, POLICIES="[{name: a, lease: 2}]") == [
        (
            'IDEMPOTENCY__POLICIES: policies[0].lease: "2" is not a duration',
            "a number with ms, s, m, h or d, such as 30s",
        )
    ]


def test_a_missing_field_of_a_policy_from_the_environment_names_a_variable(file: Path) -> None:
    assert complaints(file, POLICIES__1__LEASE="1m") == [
        ("IDEMPOTENCY__POLICIES__1__LEASE: policies[1].name: is required", "1 to 64 of a-z, 0-9, _ and -")
    ]


@pytest.mark.parametrize("value", ["[a", '"open', "{a: }}", "[*nowhere]"])
def test_a_value_that_begins_as_yaml_and_is_none_is_refused_without_being_shown(value: str) -> None:
    assert complaints(None, STORE__PREFIX=value) == [
        (
            "IDEMPOTENCY__STORE__PREFIX: store.prefix: the value is not YAML",
            "a plain value, or YAML such as [a, b]",
        )
    ]


def test_what_is_wrong_inside_a_value_in_yaml_names_the_variable() -> None:
    assert complaints(None, STORE="{prefix: a, prefix: b}") == [
        ("IDEMPOTENCY__STORE: store: given twice", "each field once")
    ]


@pytest.mark.parametrize("name", ["SERVER__WORKERS__0", "SERVER__LISTEN__PORT"])
def test_there_is_nothing_inside_a_plain_value(name: str, tmp_path: Path) -> None:
    file = tmp_path / "sidecar.yaml"
    file.write_text("server: {workers: 1, listen: 127.0.0.1:9000}\n")

    ((said, allowed),) = complaints(file, **{name: "1"})
    assert said.startswith(f"IDEMPOTENCY__{name}: server.")
    assert said.endswith(": there is nothing to set here")
    assert allowed == "fields of a mapping, or items of a list"
