"""The session that `deploy/compose/README.md` shows, typed as it stands there."""

import re
import shutil
import subprocess

import pytest

from tests.containers.composition import Composition
from tests.containers.conftest import COMPOSE

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

EXAMPLE = re.compile(r"```sh\n(curl [^\n]+)\n```\n```\n(.+?)\n```", re.DOTALL)


def test_each_command_answers_with_what_stands_below_it(composition: Composition) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    examples = EXAMPLE.findall((COMPOSE.parent / "README.md").read_text())
    assert len(examples) == 5

    for command, expected in examples:
        here = command.replace("http://127.0.0.1:8080", composition.url("envoy", 8080))
        written = subprocess.run(["bash", "-c", here], capture_output=True, text=True, check=True).stdout

        for line in expected.splitlines():
            assert line in written, f"{here}\nanswered:\n{written}"
