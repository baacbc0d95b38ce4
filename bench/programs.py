"""Programs that the benchmark runs and does not bring along."""

import shutil

from bench.errors import UnavailableError


def needed(program: str, package: str) -> str:
    """Where a program is.

    Raises:
        UnavailableError: Nowhere; the message names the package of Debian's that has it.
    """
    found = shutil.which(program)
    if found is None:
        raise UnavailableError(f"{program} is not installed (Debian's package {package})")
    return found
