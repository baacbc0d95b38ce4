"""The smallest plan that still breaks the same rule, and the report of it."""

from collections.abc import Iterator
from dataclasses import replace

from tests.simulation.drawing import draw
from tests.simulation.plan import CALM, Plan
from tests.simulation.searching import violation_of
from tests.simulation.tracing import describe_plan
from tests.simulation.world import REAL, Product


def shrink(plan: Plan, product: Product = REAL) -> Plan:
    """Leave out of a plan, part by part, whatever the violation does not need."""
    violation = violation_of(plan, product)
    if violation is None:
        return plan
    smaller: Plan | None = plan
    while smaller is not None:
        plan = smaller
        smaller = next((less for less in _smaller(plan) if _breaks(less, product, violation.rule)), None)
    return plan


def tell(plan: Plan, product: Product = REAL) -> str:
    """What happens under a plan, event by event."""
    trace: list[str] = []
    violation = violation_of(plan, product, trace)
    end = "nothing is wrong" if violation is None else f"VIOLATION of {violation}"
    return "\n".join([describe_plan(plan), *trace, end])


def report(seed: int, product: Product = REAL) -> str:
    """What breaks under this seed, told event by event on the smallest plan that shows it."""
    return tell(shrink(draw(seed), product), product)


def _breaks(plan: Plan, product: Product, rule: str) -> bool:
    violation = violation_of(plan, product)
    return violation is not None and violation.rule == rule


def _smaller(plan: Plan) -> Iterator[Plan]:
    """Every plan that is this one less one thing."""
    for part in range(len(plan.faults)):
        yield replace(plan, faults=plan.faults[:part] + plan.faults[part + 1 :])
    for part in reversed(range(len(plan.calls))):
        yield replace(plan, calls=plan.calls[:part] + plan.calls[part + 1 :])
    if plan.duplex:
        yield replace(plan, duplex=False)
    if plan.weather != CALM:
        yield replace(plan, weather=CALM)
    for part, call in enumerate(plan.calls):
        for less in (
            replace(call, leaves_after_ms=None),
            replace(call, trailers=False),
            replace(call, announces=False),
            replace(call, pieces=(b"".join(call.pieces),) if call.pieces else ()),
        ):
            if less != call:
                yield replace(plan, calls=(*plan.calls[:part], less, *plan.calls[part + 1 :]))
