"""An Envoy that refuses today's configuration, made to run it without the fields that it does not know.

So that the rest of the stack, the transports first of all, can be tried against it: what such an Envoy then
does and does not do is what the suite finds out.
"""

import functools
import re
import shlex
import subprocess
from pathlib import Path

from sidecar.envoyconf.examples import render_examples

_UNKNOWN_FIELD = re.compile(r"no such field: '(\w+)'")
_LINE = r"^ *{}: .*$"


def complaint(program: Path, configuration: str, scratch: Path) -> str | None:
    """What this Envoy says against a bootstrap configuration; None where it accepts it.

    Args:
        program: Envoy's.
        configuration: The text of a file.
        scratch: An existing directory for it.
    """
    file = scratch / "validated.yaml"
    file.write_text(configuration, encoding="utf-8")
    options = ("--mode", "validate", "--disable-hot-restart", "--log-level", "error")
    command = (str(program), *options, "--config-path", str(file))
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    last = done.stderr.strip().splitlines()[-1]
    return " ".join(last.split())  # protobuf strews spaces over its errors, so that nobody matches their text


@functools.cache
def todays_configuration() -> str:
    """The bootstrap as it is rendered today, with every kind of policy that changes its form."""
    return render_examples()["bootstrap.yaml"]


def unknown_fields(program: Path, scratch: Path) -> tuple[str, ...]:
    """The fields of today's configuration that this Envoy does not know, found by asking it.

    Raises:
        RuntimeError: It refuses the configuration for another reason.
    """
    configuration, unknown = todays_configuration(), list[str]()
    while (said := complaint(program, configuration, scratch)) is not None:
        field = _UNKNOWN_FIELD.search(said)
        if field is None or field[1] in unknown:
            raise RuntimeError(f"{program} refuses today's configuration: {said}")
        unknown.append(field[1])
        configuration = re.sub(_LINE.format(field[1]), "", configuration, flags=re.MULTILINE)
    return tuple(unknown)


def adapted(program: Path, scratch: Path) -> Path:
    """A program that runs this Envoy on what `up` renders, as it is or without what this Envoy does not know.

    `up` calls an Envoy with `--config-path FILE` first. The fields are single lines of that file.
    """
    unknown = unknown_fields(program, scratch)
    if not unknown:
        return program
    edits = " ".join(shlex.quote(f"-e/{_LINE.format(field)}/d") for field in unknown)
    script = scratch / "envoy"
    script.write_text(f'#!/bin/sh\nsed -i.rendered {edits} "$2"\nexec {shlex.quote(str(program))} "$@"\n')
    script.chmod(0o755)
    return script
