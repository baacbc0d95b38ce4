"""`.ci/run` and the pre-commit hooks: what they run, and how a failure is named."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".ci" / "run"

FAKE_MAKE = """#!/bin/bash
echo "made $1"
[[ $1 == "$FAILING" ]] && exit 2
case $1 in
  test) echo "=== 7 passed, 1 skipped in 3.20s ==="; echo "TOTAL 98%";;
  containers) echo "=== 2 passed in 63.49s (0:01:03) ===";;
  envoys) echo "=== 5 passed, 2 xfailed in 80.00s (0:01:20) ===";;
esac
"""


class Clone:
    """A directory with nothing but the script in it, and stand-ins for the programs that it calls."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "clone"
        self._bin = directory / "bin"
        self._bin.mkdir()
        self.program(self._bin / "make", FAKE_MAKE)
        for name in ("python3", "redis-server", "wrk", "h2load", "npm", "grpc_cpp_plugin", "apt-get"):
            self.program(self._bin / name, "#!/bin/bash\n")
        self.program(self.root / ".venv" / "bin" / "python", '#!/bin/bash\necho "python $*"\n')
        (self.root / ".ci").mkdir()
        shutil.copy(SCRIPT, self.root / ".ci")

    @staticmethod
    def program(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def run(self, failing: str = "") -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{self._bin}:/usr/bin:/bin", "FAILING": failing}
        return subprocess.run(
            [self.root / ".ci" / "run"], capture_output=True, text=True, check=False, env=environment
        )


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_everything_runs_in_order_and_the_closing_line_of_the_tests_is_the_last(clone: Clone) -> None:
    run = clone.run()

    assert run.returncode == 0, run.stderr
    made = re.findall(r"^made (\w+)$", run.stdout, re.MULTILINE)
    assert made == ["install", "lint", "test", "envoys", "containers", "demo", "chaos", "bench"]
    assert "python -m compileall -q sidecar tests bench" in run.stdout
    assert run.stdout.splitlines()[-6:] == [
        *("container tests:", "=== 2 passed in 63.49s (0:01:03) ==="),
        *("real Envoys:", "=== 5 passed, 2 xfailed in 80.00s (0:01:20) ==="),
        *("tests:", "=== 7 passed, 1 skipped in 3.20s ==="),
    ]


@pytest.mark.parametrize(
    ("target", "title"),
    [
        ("install", "install"),
        ("lint", "lint, types, import contracts"),
        ("test", "tests"),
        ("envoys", "real Envoys 1.36 to 1.40"),
        ("containers", "container tests"),
        ("demo", "demo"),
        ("chaos", "chaos, two minutes"),
        ("bench", "benchmark, short form"),
    ],
)
def test_the_first_step_that_fails_is_named_and_is_the_last(target: str, title: str, clone: Clone) -> None:
    run = clone.run(failing=target)

    assert run.returncode == 1
    assert re.fullmatch(rf"=== FAILED: {title} \(after \d+ s\)", run.stdout.splitlines()[-1])
    assert re.findall(r"^made (\w+)$", run.stdout, re.MULTILINE)[-1] == target


def test_an_engine_that_does_not_start_is_said_and_fails_nothing(clone: Clone) -> None:
    [script] = re.findall(r"^engine_script=(\S+)$", SCRIPT.read_text(), re.MULTILINE)
    clone.program(clone.root / script, "#!/bin/bash\necho 'no room on the device' >&2\nexit 1\n")

    run = clone.run()

    assert run.returncode == 0
    assert "no room on the device" in run.stdout
    assert "Docker engine: DID NOT START" in run.stdout.splitlines()[-7]


def test_the_hooks_run_what_lint_runs_and_nothing_from_elsewhere() -> None:
    content: dict[str, Any] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    [repository] = content["repos"]
    makefile = (ROOT / "Makefile").read_text()
    [recipe] = re.findall(r"^lint: .*\n((?:\t.+\n)+)", makefile, re.MULTILINE)
    tools = set(re.findall(r"\$\(BIN\)/([\w-]+)", recipe))

    assert repository["repo"] == "local"
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
    assert {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in repository["hooks"]} == tools
