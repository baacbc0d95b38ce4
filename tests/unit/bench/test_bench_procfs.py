"""What Linux says of a process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import procfs
from bench.errors import BenchError

STAT = "4242 (a name) with ) in it) S 1 4242 4242 0 -1 4194560 100 0 0 0 150 50 7 8 20 0 4 0 100 1000 200"
STATUS = "Name:\tenvoy\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\nThreads:\t4\n"


def test_cpu_time_is_user_and_system_time_after_the_name_however_it_is_spelt() -> None:
    ticks_per_second = os.sysconf("SC_CLK_TCK")

    assert procfs.parse_stat_ns(STAT) == 200 * 1_000_000_000 // ticks_per_second


def test_sizes_stand_in_kib() -> None:
    assert procfs.parse_status_bytes(STATUS, "VmRSS") == 1024 * 1024
    assert procfs.parse_status_bytes(STATUS, "VmHWM") == 2 * 1024 * 1024


def test_a_process_that_ended_has_no_size() -> None:
    with pytest.raises(BenchError, match="VmRSS"):
        procfs.parse_status_bytes("Name:\tgone\nState:\tZ (zombie)\n", "VmRSS")


def test_this_process_takes_cpu_while_it_works() -> None:
    me = (os.getpid(),)
    before = procfs.cpu_ns(me)

    sum(number * number for number in range(300_000))

    assert procfs.cpu_ns(me) > before


def test_several_processes_are_added_up() -> None:
    me = os.getpid()

    assert procfs.rss_bytes((me, me)) > 1.5 * procfs.rss_bytes((me,))


def test_a_process_that_is_gone_ends_the_measurement_with_its_number() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()

    with pytest.raises(BenchError, match=f"process {gone.pid} ended"):
        procfs.cpu_ns((gone.pid,))
    with pytest.raises(BenchError, match="ended"):
        procfs.rss_bytes((gone.pid,))


def test_the_peak_begins_anew_when_it_is_reset() -> None:
    me = (os.getpid(),)
    large = bytearray(64 * 1024 * 1024)
    large[::4096] = b"x" * len(large[::4096])
    del large
    peak = procfs.peak_rss_bytes(me)

    procfs.reset_peak_rss(me)

    assert procfs.peak_rss_bytes(me) < peak - 32 * 1024 * 1024


def test_an_open_file_is_a_descriptor() -> None:
    me = (os.getpid(),)
    before = procfs.open_descriptors(me)

    with Path(os.devnull).open("rb"):
        assert procfs.open_descriptors(me) == before + 1
