"""Run as a script by path: removes a directory once its owner is gone, however it went.

    python -I -S sweeper.py DIRECTORY   (standard input: a pipe whose other end only the owner holds)

The kernel closes the owner's end of the pipe even when the owner is killed with SIGKILL; reading then
ends, and the directory goes. The processes that use it die at the same moment and may still create a
file in it, so the removal is repeated until it holds.
"""

import shutil
import sys
import time
from pathlib import Path

ATTEMPTS = 50
PAUSE_S = 0.1


def sweep(directory: Path) -> bool:
    """Remove the directory and all that is in it; whether it is gone."""
    for _ in range(ATTEMPTS):
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return True
        time.sleep(PAUSE_S)
    return False


if __name__ == "__main__":
    sys.stdin.buffer.read()
    sys.exit(0 if sweep(Path(sys.argv[1])) else 1)
