"""The whole stack as a user starts it: `idempotency-sidecar up`, as a child process."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.stack.children import stopped_in_the_end

STOP_LIMIT_S = 30


@dataclass(frozen=True)
class Up:
    """A running `up`: where it listens, its admin listener, its processes, its log."""

    url: str
    admin: str
    envoy_pid: int
    worker_pids: list[int]
    process: subprocess.Popen[str]
    log: Path

    def metric(self, name: str, **labels: str) -> float:
        """The value of one sample of the first worker's metrics; 0 where it has not been seen."""
        wanted = {f'{label}="{value}"' for label, value in labels.items()}
        for line in httpx.get(f"{self.admin}/metrics").text.splitlines():
            series, _, value = line.rpartition(" ")
            family, _, given = series.partition("{")
            if family == name and wanted <= set(given.rstrip("}").split(",")):
                return float(value)
        return 0.0


@contextlib.contextmanager
def running_up(upstream: str, directory: Path, *options: str, config: str | None = None) -> Iterator[Up]:
    """Run `up` in front of `upstream` while the context lasts; `config` is the text of its configuration."""
    log = directory / "up.log"
    if config is not None:
        file = directory / "sidecar.yaml"
        file.write_text(config)
        options = (*options, "--config", str(file))
    command = [
        *(sys.executable, "-m", "sidecar", "up", "--json", "--upstream", upstream),
        *("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", *options),
    ]
    with log.open("w") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
    with process, stopped_in_the_end(process, STOP_LIMIT_S):
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"up did not start:\n{log.read_text()}"
        ready = json.loads(line)
        pids = ready["pids"]
        yield Up(ready["url"], ready["admin"][0], pids["envoy"], pids["workers"], process, log)
