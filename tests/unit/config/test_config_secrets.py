"""The address of the store: where it may stand, where it may come from, and that it is never shown."""

from pathlib import Path

import pytest

from sidecar.config.errors import ConfigError, ConfigProblem
from sidecar.config.loading import load

SECRET = "redis://idem:hunter2@redis:6379/0"


def in_environment(url: str) -> str:
    return load(None, {"IDEMPOTENCY__STORE__URL": url}).store.url.get_secret_value()


def the_problem(path: Path | None, url: str | None = None) -> ConfigProblem:
    with pytest.raises(ConfigError) as caught:
        load(path, {} if url is None else {"IDEMPOTENCY__STORE__URL": url})
    (problem,) = caught.value.problems
    assert "hunter2" not in repr(caught.value)
    return problem


@pytest.mark.parametrize(
    "url",
    [
        "memory:",
        "redis://redis",
        "redis://redis/",
        "redis://[::1]:6379/15",
        SECRET,
        "rediss://:p%23%40ss@redis:6380",
        "rediss://redis?ssl_certfile=/tls/crt&ssl_keyfile=/tls/key&ssl_check_hostname=false",
    ],
)
def test_an_address_in_the_environment_is_taken_as_it_stands(url: str) -> None:
    assert in_environment(url) == url


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
@pytest.mark.parametrize("by", ["file", "environment"])
def test_a_file_reference_is_replaced_by_the_only_line_of_that_file(
    tmp_path: Path, ending: str, by: str
) -> None:
    secret, config = tmp_path / "store-url", tmp_path / "sidecar.yaml"
    secret.write_bytes(f"{SECRET}{ending}".encode())
    config.write_text(f"store:\n  url: file:{secret}\n")

    if by == "file":
        assert load(config, {}).store.url.get_secret_value() == SECRET
    else:
        assert in_environment(f"file:{secret}") == SECRET


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"redis://a\nredis://b\n", b"\xff\xfe", b"redis://a\0", b"a" * 20_000]
)
def test_a_file_that_does_not_hold_one_line_of_text_is_refused(tmp_path: Path, content: bytes) -> None:
    secret = tmp_path / "store-url"
    secret.write_bytes(content)

    assert the_problem(None, f"file:{secret}").message == "the file it names does not hold one line of text"


def test_the_content_of_a_secret_file_is_checked_but_not_shown(tmp_path: Path) -> None:
    secret = tmp_path / "store-url"
    secret.write_text("redis://idem:hunter2@redis:6379/main")

    assert the_problem(None, f"file:{secret}").message == "the database is not a number"


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2@redis:port",
        "redis://:hunter2@:6379",
        "redis://:hunter2@re dis",
        "redis://:hunter2@[::1",
        "redis://:#hunter2@redis",
        "redis://redis?password=hunter2",
        "rediss://redis?ssl_ca_certs=hunter2",
        "hunter2",
        "//:hunter2@redis",
        "'redis://:hunter2@redis",
    ],
)
def test_a_malformed_address_is_refused_without_being_shown(url: str) -> None:
    problem = the_problem(None, url)

    assert (problem.file, problem.field) == ("IDEMPOTENCY__STORE__URL", "store.url")


def test_a_password_may_come_by_environment_over_a_file_that_has_none(tmp_path: Path) -> None:
    config = tmp_path / "sidecar.yaml"
    config.write_text("store:\n  url: redis://redis:6379/0\n")

    assert load(config, {"IDEMPOTENCY__STORE__URL": SECRET}).store.url.get_secret_value() == SECRET


def test_a_password_in_the_file_is_named_next_to_every_other_problem(tmp_path: Path) -> None:
    config = tmp_path / "sidecar.yaml"
    config.write_text(f"store:\n  url: {SECRET}\n  timeout: 1\n")

    with pytest.raises(ConfigError) as caught:
        load(config, {})
    assert [(problem.line, problem.field) for problem in caught.value.problems] == [
        (2, "store.url"),
        (3, "store.timeout"),
    ]
    assert "hunter2" not in str(caught.value)


def test_memory_is_refused_where_workers_come_by_environment() -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {"IDEMPOTENCY__STORE__URL": "memory:", "IDEMPOTENCY__SERVER__WORKERS": "2"})

    (problem,) = caught.value.problems
    assert (problem.file, problem.field) == ("IDEMPOTENCY__STORE__URL", "store.url")
