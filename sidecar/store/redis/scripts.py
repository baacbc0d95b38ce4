"""The Lua scripts: one store transition, one file, each with its contract and its races in its header."""

import hashlib
from dataclasses import dataclass, field
from importlib.resources import files

_FOLDER = files("sidecar.store.redis") / "scripts"
_ENTRY = (_FOLDER / "entry.lua").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Script:
    """A transition as the server runs it: the text, and the SHA-1 under which it caches it."""

    name: str
    text: str = field(repr=False)
    sha1: str = field(init=False)

    def __post_init__(self) -> None:
        """Compute the name the server will know it by."""
        digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "sha1", digest)


def _read(name: str) -> Script:
    transition = (_FOLDER / f"{name}.lua").read_text(encoding="utf-8")
    return Script(name, f"{_ENTRY}\n{transition}")


CLAIM = _read("claim")
RENEW = _read("renew")
NOTE_FINGERPRINT = _read("note_fingerprint")
COMPLETE = _read("complete")
RELEASE = _read("release")
MARK_UNKNOWN = _read("mark_unknown")
WAIT = _read("wait")
