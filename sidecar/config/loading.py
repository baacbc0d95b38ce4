"""Loading a configuration: a file, the environment over it, secrets from their files (CONTRACT §3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from sidecar.config.compiling import compile_policies
from sidecar.config.document import Document, Place, Value
from sidecar.config.environment import overlay
from sidecar.config.errors import ConfigError, ConfigProblem, quoted
from sidecar.config.file_reading import read_document, read_secret
from sidecar.config.problems import explain
from sidecar.config.schema import Config, OriginSection, StoreSection
from sidecar.config.server_schema import ServerSection
from sidecar.config.store_url import holds_password
from sidecar.idempotency.policy import Execution, Policies

__all__ = ["ConfigError", "ConfigProblem", "Loaded", "Settings", "load", "read"]

LEAST_DRAIN_S = 30.0
"""How long exchanges under way may take to end once a worker is told to stop, in seconds."""
KEEPING_S = 5.0
"""And for the outcome of a detached call that just ended to be kept, in seconds."""
_FILE_REFERENCE = "file:"
_URL = ("store", "url")


@dataclass(frozen=True, slots=True)
class Settings:
    """A configuration that was found right. Durations are in milliseconds, sizes in bytes."""

    server: ServerSection
    store: StoreSection
    origin: OriginSection
    policies: Policies

    @property
    def drain_s(self) -> float:
        """How long exchanges under way may take to end once a worker is told to stop, in seconds.

        A detached call that has begun is let end, or reach its deadline, and its outcome be kept
        (`KEEPING_S`); everything else has `LEAST_DRAIN_S`.
        """
        detached = (policy for policy in self.policies.policies if policy.execution is Execution.DETACHED)
        return max([LEAST_DRAIN_S, *(policy.deadline_ms / 1000 + KEEPING_S for policy in detached)])


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that was found right, as it was written: its sections, and where each value stands."""

    config: Config
    document: Document

    @property
    def settings(self) -> Settings:
        """What the sidecar runs with."""
        config = self.config
        return Settings(config.server, config.store, config.origin, compile_policies(config))


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """The configuration in a file (None: all defaults) with what the environment sets.

    Raises:
        ConfigError: It cannot be used; holds everything that is wrong with it.
    """
    return read(path, environ).settings


def read(path: Path | None, environ: Mapping[str, str]) -> Loaded:
    """The same, for who has to say of a value where it was written.

    Raises:
        ConfigError: As for `load`.
    """
    document, problems = read_document(path) if path else _nothing()
    problems += overlay(document, environ)
    problems += _resolve_secrets(document)
    problems += _repeated_names(document)
    config = _validate(document, problems)
    if problems or config is None:
        raise ConfigError(sorted(problems, key=_order))
    return Loaded(config, document)


def _nothing() -> tuple[Document, list[ConfigProblem]]:
    return Document(Place("defaults")), []


def _order(problem: ConfigProblem) -> tuple[bool, int, str]:
    """The file from top to bottom, then the environment by name."""
    return problem.line is None, problem.line or 0, problem.file


def _validate(document: Document, problems: list[ConfigProblem]) -> Config | None:
    try:
        return Config.model_validate(document.values)
    except ValidationError as error:
        known = {problem.field for problem in problems}
        problems += [problem for problem in explain(error, document) if problem.field not in known]
        return None


def _resolve_secrets(document: Document) -> list[ConfigProblem]:
    """Put the content of the file that `store.url` refers to in its place; refuse a password in the open."""
    store = document.values.get("store")
    url = store.get("url") if isinstance(store, dict) else None
    if not isinstance(store, dict) or not isinstance(url, str):
        return []
    place = document.place(_URL)
    message, allowed = "", ""
    if url.startswith(_FILE_REFERENCE):
        message, allowed = _follow(url.removeprefix(_FILE_REFERENCE), store)
    elif place.is_file and holds_password(url):
        message = "a password stands in the file"
        allowed = "the address in IDEMPOTENCY__STORE__URL, or in a file that file:/absolute/path names"
    if not message:
        return []
    del store["url"]
    return [place.problem(_URL, message, allowed)]


def _follow(reference: str, store: dict[str, Value]) -> tuple[str, str]:
    allowed = "file:/absolute/path of a file that holds the address as its only line"
    if not reference.startswith("/"):
        return "the path after file: is not absolute", allowed
    try:
        store["url"] = read_secret(Path(reference))
    except OSError as error:
        return f"the file it names cannot be read: {error.strerror}", allowed
    except ValueError:
        return "the file it names does not hold one line of text", allowed
    return "", ""


def _repeated_names(document: Document) -> list[ConfigProblem]:
    policies = document.values.get("policies")
    seen: set[str] = set()
    problems = []
    for index, policy in enumerate(policies if isinstance(policies, list) else []):
        name = policy.get("name") if isinstance(policy, dict) else None
        if isinstance(name, str) and name in seen:
            path = ("policies", index, "name")
            problems.append(
                document.place(path).problem(
                    path, f"{quoted(name)} names another policy already", "a unique name"
                )
            )
        elif isinstance(name, str):
            seen.add(name)
    return problems
