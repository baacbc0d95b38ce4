"""One schedule: the world of a plan, run to its end and judged."""

from collections.abc import Callable
from dataclasses import dataclass

from sidecar.exchange.machine import Exchange
from sidecar.idempotency.policy import Policies
from sidecar.store.memory import MemoryStore
from sidecar.store.port import Store
from tests.simulation.duplex_envoy import DuplexEnvoy
from tests.simulation.envoy import Envoy
from tests.simulation.guarantees import Guarantees
from tests.simulation.hosted import Hosted, Surroundings
from tests.simulation.origin import DetachedCall
from tests.simulation.plan import STEADY, CallScript, FaultScript, Plan, Trouble
from tests.simulation.policies import ROWS
from tests.simulation.processes import Process
from tests.simulation.store import StoreLink
from tests.simulation.timeline import Endless, Timeline
from tests.simulation.tracing import describe_call
from tests.simulation.violation import Violation


@dataclass(frozen=True, slots=True)
class Product:
    """What is under simulation; a plant replaces a part of it."""

    exchange: Callable[[Policies, str], Exchange] = Exchange
    store: Callable[[Callable[[], float], Callable[[], float]], Store] = MemoryStore


REAL = Product()


class World:
    """Clients, Envoy, sidecars, store and upstream of one plan."""

    def __init__(self, plan: Plan, product: Product = REAL, trace: list[str] | None = None) -> None:
        self.timeline = Timeline()
        self.guarantees = Guarantees(ROWS[plan.row], self.timeline)
        self._plan = plan
        self._product = product
        self._trace = trace
        self._policies = self.guarantees.row.snapshot()
        store, custody = product.store(self.timeline.seconds, self.timeline.seconds), self.guarantees.custody
        self._around = Surroundings(
            self.timeline,
            self.guarantees,
            StoreLink(store, self.timeline, custody, plan.weather, plan.quiet_from),
            call_origin=lambda hosted, effect: DetachedCall(self._around, hosted, effect),
            note=None if trace is None else self.say,
        )
        self._workers = [Process() for _ in range(plan.workers)]
        make = DuplexEnvoy if plan.duplex else Envoy
        self._envoys = [make(self, call) for call in plan.calls]
        self._expected: dict[str, frozenset[str]] = {}
        if plan.weather in STEADY and all(fault.trouble is Trouble.CRASH for fault in plan.faults):
            custody.is_undisturbed = self._lives

    def run(self) -> dict[str, int]:
        """Let the plan happen; returns what it consisted of.

        Raises:
            Violation: What it found.
        """
        for envoy in self._envoys:
            self.timeline.at(envoy.call.at, self._begin, envoy)
        for fault in self._plan.faults:
            self.timeline.at(fault.at, self._strike, fault)
        try:
            self.timeline.run()
        except Endless as endless:
            raise Violation("invariant 5", str(endless)) from endless
        self._check_end()
        return self.guarantees.met()

    def _check_end(self) -> None:
        for envoy in self._envoys:
            if not envoy.done:
                raise Violation("invariant 3", f"{envoy.owner} was never answered")
            if envoy.hosted is not None:
                envoy.hosted.check_closed()
            if envoy.owner in self._expected:
                self.guarantees.check_result(envoy.owner, self._expected[envoy.owner])

    def _lives(self, owner: str) -> bool:
        return any(
            envoy.owner == owner and envoy.hosted is not None and envoy.hosted.lives for envoy in self._envoys
        )

    # --- What an exchange finds around it

    def process_for(self, call: CallScript) -> Process | None:
        """The call's worker, or the next that is alive."""
        for offset in range(len(self._workers)):
            process = self._workers[(call.worker + offset) % len(self._workers)]
            if process.alive:
                return process
        return None

    def host(self, process: Process, envoy: Envoy) -> Hosted:
        """A new exchange on this process."""
        exchange = self._product.exchange(self._policies, envoy.owner)
        hosted = Hosted(exchange, process, envoy, self._around)
        process.tenants.append(hosted)
        return hosted

    # --- What happens to them

    def _begin(self, envoy: Envoy) -> None:
        if self._trace is not None:
            self.say(envoy.owner, describe_call(envoy.call))
        if envoy.call.probe:
            self._expected[envoy.owner] = self.guarantees.expect(envoy.call)
        envoy.begin()

    def _strike(self, fault: FaultScript) -> None:
        worker = fault.worker
        process = self._workers[worker]
        if not process.alive:
            return
        if self._trace is not None:
            self.say(f"worker {worker}", f"{fault.trouble.value} for {fault.lasts_ms} ms")
        if fault.trouble is Trouble.PAUSE:
            process.stop()
            self.timeline.after(fault.lasts_ms, process.go_on)
        else:
            process.crash()
            self.timeline.after(fault.lasts_ms, self._start, worker)

    def _start(self, worker: int) -> None:
        self._workers[worker] = Process()

    def say(self, who: str, what: str) -> None:
        """Note a line of the trace."""
        assert self._trace is not None
        self._trace.append(f"{self.timeline.now:>6} ms  {who:<10} {what}")
