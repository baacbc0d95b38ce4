"""The reference transport keeps the promises of the port."""

import subprocess
import sys

import pytest

from sidecar.extproc.transport.grpcio import GrpcioTransport
from sidecar.extproc.transport.port import Accept
from tests.transport.contract import TransportContract
from tests.transport.transport_scene import HealthyTransport


class TestGrpcioTransport(TransportContract):
    def make(self, address: str, accept: Accept) -> HealthyTransport:
        return GrpcioTransport(address, accept)


_POLICIES = """
import asyncio, os

policy_of = os.sched_getscheduler
if "{forbidden}":
    def refuse(*_):
        raise PermissionError("a sandbox")
    os.sched_{forbidden} = refuse

from sidecar.extproc.transport.grpcio import GrpcioTransport

async def look():
    GrpcioTransport("127.0.0.1:0", None)
    own = os.getpid()
    policies = {{int(thread): policy_of(int(thread)) for thread in os.listdir("/proc/self/task")}}
    others = {{policy for thread, policy in policies.items() if thread != own}}
    print(policies[own] == os.SCHED_OTHER, others == {{os.SCHED_BATCH}}, others == {{os.SCHED_OTHER}})

asyncio.run(look())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="SCHED_BATCH is a policy of Linux")
@pytest.mark.parametrize(
    ("forbidden", "told"),
    [
        ("", ["True", "True", "False"]),
        ("setscheduler", ["True", "False", "True"]),
        ("getscheduler", ["True", "False", "True"]),
    ],
)
def test_that_grpcs_threads_do_not_interrupt_the_loops_where_the_system_allows_it(
    forbidden: str, told: list[str]
) -> None:
    script = _POLICIES.format(forbidden=forbidden)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == told
