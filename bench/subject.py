"""What is measured: something that answers requests, and the processes that answering takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bench import procfs


class Role(StrEnum):
    """What a process is there for."""

    ENVOY = "envoy"
    PROCESSOR = "processor"
    """The sidecar's workers, or a no-op processor in their place."""
    APP = "app"
    """A service that does the job in its own process."""
    STORE = "valkey"
    UPSTREAM = "upstream"


@dataclass(frozen=True, slots=True)
class Subject:
    """A thing under test.

    Attributes:
        name: `alone`, `noop`, a transport's name, a peer's name.
        url: Where it is called, without a path.
        processes: Those whose CPU is counted, by what they are there for.
        executes_at: Where requests are executed and counted: the upstream, or a peer itself.
        envoy_admin: The socket of its Envoy's admin interface; None for a peer, which has no Envoy.
    """

    name: str
    url: str
    processes: Mapping[Role, tuple[int, ...]]
    executes_at: str
    envoy_admin: Path | None = None

    def cpu_ns(self) -> dict[Role, int]:
        """CPU time that each role has taken so far, in nanoseconds."""
        return {role: procfs.cpu_ns(pids) for role, pids in self.processes.items()}
