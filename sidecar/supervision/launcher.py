"""Run as a script by path: becomes another program that dies with its parent.

    python -I -S launcher.py PARENT_PID SIGNAL PROGRAM ARGUMENT...

A supervisor that is killed with SIGKILL cannot stop its children, so each child asks the kernel to be
sent SIGNAL when its parent ends (PR_SET_PDEATHSIG; Linux only, elsewhere the program is simply run).
The setting survives `execve` into a program that is not set-uid, and is not inherited by `fork`.

It is done here, after the fork and the first exec, and not in a `preexec_fn`: that one runs Python
between fork and exec, where a lock held by another thread of the parent stays locked for ever.

The race: the parent may end before `prctl` runs, and then no signal ever comes. So the parent is
compared *after* asking; if it has changed, the answer is to end now. The kernel watches the parent's
*thread* that forked, so a supervisor starts its children from the thread that lives as long as it does.

SIGHUP is ignored until the program handles it: the supervisor passes it on for a reload, and to a worker that
is still starting it must not be the end. An ignored signal stays ignored over `execve`.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
COULD_NOT_RUN = 127


def main(arguments: list[str]) -> int:
    """Arrange the signal and become the program. Returns only if that is impossible, with the exit status."""
    parent, signal_number, program = int(arguments[0]), int(arguments[1]), arguments[2:]
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
        if os.getppid() != parent:
            return COULD_NOT_RUN
    try:
        os.execv(program[0], program)  # noqa: S606 - no shell is the point
    except OSError as error:
        sys.stderr.write(f"cannot run {program[0]}: {error.strerror}\n")
    return COULD_NOT_RUN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
