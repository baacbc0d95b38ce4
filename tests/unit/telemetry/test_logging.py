"""Log lines: JSON in production, readable on a terminal, and nothing in them that must stay secret."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from sidecar.telemetry.logging import FORMAT, REDACTED, configure, redact


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    structlog.reset_defaults()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def redacted(**event: object) -> dict[str, Any]:
    return dict(redact(None, "info", dict(event)))


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "Authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
        "password",
        "redis_password",
        "secret",
        "client_secret",
        "token",
        "access_token",
        "credentials",
        "key",
        "idempotency_key",
        "encryption_key",
    ],
)
def test_a_field_with_the_name_of_a_secret_is_blanked(name: str) -> None:
    assert redacted(**{name: "hunter2"}) == {name: REDACTED}
    assert redacted(headers={name: "hunter2"}) == {"headers": {name: REDACTED}}
    assert redacted(requests=[{name: ["hunter2"]}]) == {"requests": [{name: REDACTED}]}


@pytest.mark.parametrize(
    "name", ["event", "policy", "id", "request_id", "result", "keys_read", "monkey", "listen"]
)
def test_a_field_with_another_name_is_kept(name: str) -> None:
    assert redacted(**{name: "value"}) == {name: "value"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://user:hunter2@store:6379/0", f"redis://{REDACTED}@store:6379/0"),
        ("rediss://:hunter2@store", f"rediss://{REDACTED}@store"),
        ("redis://:p@ss@store/0", f"redis://{REDACTED}@store/0"),
        ("https://token@git.example/x", f"https://{REDACTED}@git.example/x"),
        ("cannot reach redis://u:p@store: refused", f"cannot reach redis://{REDACTED}@store: refused"),
        ("redis://u:p@a/0 and redis://v:q@b/1", f"redis://{REDACTED}@a/0 and redis://{REDACTED}@b/1"),
        ("redis://store:6379/0", "redis://store:6379/0"),
        ("http://example/path@2x", "http://example/path@2x"),
        ("mail to a@b.example", "mail to a@b.example"),
    ],
)
def test_user_info_is_blanked_in_every_url_wherever_it_stands(text: str, shown: str) -> None:
    assert redacted(event=text, url=text) == {"event": shown, "url": shown}
    assert redacted(stores=[text], nested={"url": (text,)}) == {"stores": [shown], "nested": {"url": [shown]}}


def test_what_is_not_text_is_kept() -> None:
    assert redacted(count=3, none=None, ok=True, ratio=0.5) == {
        "count": 3,
        "none": None,
        "ok": True,
        "ratio": 0.5,
    }


def test_in_production_a_line_is_json_with_time_level_and_fields_and_nothing_secret() -> None:
    stream = io.StringIO()
    configure(stream)

    structlog.get_logger("sidecar").info("serving", store="redis://u:hunter2@s", token="hunter2", policy="p")

    line = json.loads(stream.getvalue())
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "serving",
        "level": "info",
        "store": f"redis://{REDACTED}@s",
        "token": REDACTED,
        "policy": "p",
    }


def test_on_a_terminal_a_line_is_readable_and_nothing_secret() -> None:
    stream = Terminal()
    configure(stream)

    structlog.get_logger("sidecar").warning("not ready", reason="redis://u:hunter2@s does not answer")

    assert "not ready" in stream.getvalue()
    assert "does not answer" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()
    with pytest.raises(json.JSONDecodeError):
        json.loads(stream.getvalue())


def test_the_environment_overrides_how_lines_look() -> None:
    piped, terminal = io.StringIO(), Terminal()

    configure(piped, environ={FORMAT: "readable"})
    structlog.get_logger("sidecar").info("first")
    configure(terminal, environ={FORMAT: "json"})
    structlog.get_logger("sidecar").info("second")

    assert "first" in piped.getvalue()
    assert not piped.getvalue().startswith("{")
    assert json.loads(terminal.getvalue())["event"] == "second"


def fail_with(credential: str) -> Exception:
    """An error whose frames and message hold a credential."""
    header, nothing = f"Bearer {credential}", dict[str, str]()
    try:
        nothing[f"{len(header)} bytes at redis://u:{credential}@store"]
    except KeyError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["json", "terminal"])
def test_a_traceback_shows_where_but_neither_local_variables_nor_user_info(stream: io.StringIO) -> None:
    configure(stream)

    structlog.get_logger("sidecar").error("stream failed", exc_info=fail_with("hunter2"))

    assert "fail_with" in stream.getvalue()
    assert "KeyError" in stream.getvalue()
    assert f"redis://{REDACTED}@store" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


def test_below_its_level_nothing_is_logged() -> None:
    stream = io.StringIO()
    configure(stream, level=logging.WARNING)
    log = structlog.get_logger("sidecar")

    log.debug("a")
    log.info("b")
    log.warning("c")

    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["c"]


def test_a_line_and_its_end_are_one_write_so_that_workers_may_share_a_stream() -> None:
    writes: list[str] = []

    class Recorded(io.StringIO):
        def write(self, text: str) -> int:
            writes.append(text)
            return len(text)

    configure(Recorded(), environ={})
    structlog.get_logger().info("serving", worker=0)

    (line,) = writes
    assert line.endswith("}\n")
