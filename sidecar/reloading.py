"""New policies for a worker that runs: one step from snapshot to snapshot, or none at all (CONTRACT §3)."""

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from sidecar.config.changes import PolicyChanges, needs_restart
from sidecar.config.errors import ConfigError, ConfigProblem
from sidecar.config.loading import Settings
from sidecar.config.watching import WatchedConfig
from sidecar.envoyconf.agreement import envoy_side
from sidecar.idempotency.policy import Execution, Mode, Policies

APPLIED, REJECTED = "applied", "rejected"
"""The results of `idempotency_config_reloads_total`."""


_GIVES_WAY_AFTER_S = 0.0005


@dataclass(frozen=True, slots=True)
class Following:
    """The file that a worker's policies follow.

    Attributes:
        config: The file.
        envoy_follows: Whether somebody else sees to it that Envoy's configuration follows as well (`up`).
    """

    config: WatchedConfig
    envoy_follows: bool = False


class PoliciesInForce:
    """The snapshot for the next exchange. One that has begun keeps the snapshot that it began with.

    Attributes:
        policies: That snapshot: frozen, and only ever replaced as a whole.
        drain_s: How long exchanges under way may need to end, in seconds: the longest of all policies since
            the start, as an exchange under one that is gone by now may still be under way.
    """

    def __init__(self, settings: Settings) -> None:
        self._running = settings
        self.policies: Policies = settings.policies
        self.drain_s = settings.drain_s

    def replace(self, loaded: Settings, path: Path) -> "Replaced":
        """Put the policies of a configuration in force, and tell what that changes.

        Raises:
            ConfigError: A policy makes detached calls, and this worker was started without a place for them.
        """
        if self._running.origin.url is None:
            self._refuse_detached(loaded.policies, path)
        replaced = Replaced(
            policies=PolicyChanges.between(self.policies, loaded.policies),
            needs_restart=needs_restart(self._running, loaded),
            envoy_differs=envoy_side(self.policies) != envoy_side(loaded.policies),
        )
        self.policies = loaded.policies
        self.drain_s = max(self.drain_s, loaded.drain_s)
        return replaced

    @staticmethod
    def _refuse_detached(policies: Policies, path: Path) -> None:
        problems = [
            ConfigProblem(
                str(path),
                None,
                f"policies[{index}].execution",
                f"the policy {policy.name} is detached, and this worker was started without origin.url",
                "inline, or a restart of the sidecar, which then reads origin.url",
            )
            for index, policy in enumerate(policies.policies)
            if policy.execution is Execution.DETACHED and policy.mode is not Mode.OFF
        ]
        if problems:
            raise ConfigError(problems)


@dataclass(frozen=True, slots=True)
class Replaced:
    """What it changes that a configuration was put in force.

    Attributes:
        policies: Which policies differ.
        needs_restart: The fields that differ and do not take effect.
        envoy_differs: Whether Envoy's configuration would be another one.
    """

    policies: PolicyChanges
    needs_restart: tuple[str, ...]
    envoy_differs: bool


class Reloading:
    """Follows a file: puts what is right in force, and says what is wrong with the rest.

    Args:
        following: The file.
        in_force: Where policies are put in force.
        count: Is told the result of each reload.
        log: Is told what it changes.
    """

    def __init__(
        self,
        following: Following,
        in_force: PoliciesInForce,
        count: Callable[[str], None],
        log: FilteringBoundLogger,
    ) -> None:
        self._following = following
        self._in_force = in_force
        self._count = count
        self._log = log

    def ask(self) -> None:
        """Reload at once."""
        self._following.config.ask()

    async def follow(self) -> None:
        """Reload whenever the file has changed, until cancelled."""
        async for _ in self._following.config.changes():
            await self.reload()

    async def reload(self) -> None:
        """Load the file and put it in force; where that cannot be, what was in force stays."""
        config = self._following.config
        try:
            with _giving_way():
                loaded = await asyncio.to_thread(config.load)
            replaced = self._in_force.replace(loaded, config.path)
        except ConfigError as error:
            self._say_rejected(error)
        else:
            self._say_applied(replaced)

    def _say_rejected(self, error: ConfigError) -> None:
        for problem in error.problems:
            self._log.error("configuration rejected, the one before stays in force", problem=str(problem))
        self._count(REJECTED)

    def _say_applied(self, replaced: Replaced) -> None:
        policies = replaced.policies
        self._log.info(
            "configuration applied",
            added=policies.added,
            removed=policies.removed,
            changed=policies.changed,
            reordered=policies.reordered,
        )
        if replaced.needs_restart:
            self._log.warning(
                "part of the configuration takes a restart", needs_restart=replaced.needs_restart
            )
        if replaced.envoy_differs and not self._following.envoy_follows:
            self._log.warning(
                "Envoy's configuration has to be rendered again: until then, requests that only the new "
                "policies want may pass unprotected, and those whose callers it does not tell are refused",
                command="idempotency-sidecar envoy-config",
            )
        self._count(APPLIED)


@contextlib.contextmanager
def _giving_way() -> Iterator[None]:
    """Let exchanges go on while a thread loads, which takes half a second and more for a thousand policies.

    A thread that computes keeps the interpreter for 5 ms where another one wants it, and every step of an
    exchange would come that much later: 5.3 ms in the median, measured, and 0.7 ms with a tenth of that.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(_GIVES_WAY_AFTER_S)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)
