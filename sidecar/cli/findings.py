"""What `check` finds: what makes a file useless, and what is dangerous in one that can be used."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sidecar.config.dangers import Danger, Level, dangers
from sidecar.config.errors import ConfigError, ConfigProblem, dotted
from sidecar.config.loading import Loaded, read
from sidecar.envoyconf.shortcomings import shortcoming
from sidecar.envoyconf.version import EnvoyVersion


@dataclass
class Findings:
    """What was found in a file: the names of its policies, what is wrong, and what is dangerous."""

    file: Path
    names: list[str] = field(default_factory=list)
    problems: list[ConfigProblem] = field(default_factory=list)
    dangers: list[Danger] = field(default_factory=list)

    @classmethod
    def of(cls, file: Path, environ: Mapping[str, str], version: EnvoyVersion | None) -> "Findings":
        """Everything there is to say about a file; also of this Envoy, where one is asked about."""
        findings = cls(file)
        try:
            loaded = read(file, environ)
        except ConfigError as error:
            findings.problems += error.problems
            return findings
        findings.names = [policy.name for policy in loaded.config.policies]
        findings.dangers = dangers(loaded)
        if version is not None:
            findings._compare(loaded, version)
        return findings

    @property
    def warned(self) -> int:
        """How many dangers are more than a note."""
        return sum(danger.level is Level.WARNING for danger in self.dangers)

    def as_object(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        return {
            "ok": not self.problems,
            "file": str(self.file),
            "policies": self.names,
            "problems": [dataclasses.asdict(problem) for problem in self.problems],
            "warnings": [dataclasses.asdict(danger) for danger in self.dangers],
        }

    def _compare(self, loaded: Loaded, version: EnvoyVersion) -> None:
        """What each policy asks for that this Envoy cannot do."""
        for number, policy in enumerate(loaded.settings.policies.policies):
            lacks = shortcoming(policy, version)
            if lacks is None:
                continue
            path = ("policies", number)
            place, message = loaded.document.place(path), f"{policy.name}: {lacks.message}"
            if lacks.defeats:
                self.problems.append(place.problem(path, message, lacks.allowed))
            else:
                self.dangers.append(Danger(place.file, place.line, dotted(path), message, lacks.allowed))
