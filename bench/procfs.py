"""What Linux says of a process: CPU time, resident memory, open descriptors (proc(5))."""

import os
from collections.abc import Iterable
from pathlib import Path

from bench.errors import BenchError

_NS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_BYTES_PER_KIB = 1024
_RESET_PEAK = "5"


def cpu_ns(pids: Iterable[int]) -> int:
    """CPU time of the processes with all their threads, user and system, in nanoseconds.

    From `schedstat`, which counts nanoseconds; `stat`, which counts ticks of 10 ms, where a kernel is built
    without it. Threads that ended are missed by the first: what is measured here keeps its threads.

    Raises:
        BenchError: One of them has ended.
    """
    return sum(_cpu_ns(pid) for pid in pids)


def _cpu_ns(pid: int) -> int:
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        precise = sum(_first_number(thread / "schedstat") for thread in threads)
        return precise or parse_stat_ns(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8"))
    except (FileNotFoundError, ProcessLookupError):
        raise BenchError(f"process {pid} ended while it was measured") from None


def _first_number(file: Path) -> int:
    try:
        return int(file.read_text(encoding="ascii").split()[0])
    except (FileNotFoundError, ProcessLookupError):
        return 0  # a thread that ended between the listing and the reading


def parse_stat_ns(stat: str) -> int:
    """CPU time in the text of `/proc/PID/stat`: fields 14 and 15, utime and stime, as nanoseconds.

    The name, field 2, stands in parentheses and may hold blanks and parentheses of its own.
    """
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _NS_PER_TICK


def rss_bytes(pids: Iterable[int]) -> int:
    """Resident memory of the processes now (`VmRSS`), in bytes."""
    return sum(_status_bytes(pid, "VmRSS") for pid in pids)


def peak_rss_bytes(pids: Iterable[int]) -> int:
    """The most resident memory they had since `reset_peak_rss` (`VmHWM`), in bytes."""
    return sum(_status_bytes(pid, "VmHWM") for pid in pids)


def reset_peak_rss(pids: Iterable[int]) -> None:
    """Let the peak begin anew at what is resident now."""
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK, encoding="ascii")


def open_descriptors(pids: Iterable[int]) -> int:
    """How many file descriptors the processes hold."""
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)


def _status_bytes(pid: int, field: str) -> int:
    try:
        return parse_status_bytes(Path(f"/proc/{pid}/status").read_text(encoding="utf-8"), field)
    except (FileNotFoundError, ProcessLookupError):
        raise BenchError(f"process {pid} ended while it was measured") from None


def parse_status_bytes(status: str, field: str) -> int:
    """A size in the text of `/proc/PID/status`, where it stands in KiB, as bytes.

    Raises:
        BenchError: There is no such field, as with a process that has ended and waits to be reaped.
    """
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * _BYTES_PER_KIB
    raise BenchError(f"/proc says nothing of {field}: the process has ended")
