"""What one burst of load came to."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.errors import BenchError


@dataclass(frozen=True, slots=True)
class Outcome:
    """Figures of a burst; latencies in microseconds, None where the generator does not give them."""

    requests: int
    seconds: float
    errors: int
    """Answers of status 400 and above."""
    lost: int = 0
    """Requests without an answer."""
    p50_us: float | None = None
    p99_us: float | None = None

    @classmethod
    def of_latencies(cls, latencies_s: Sequence[float], seconds: float) -> "Outcome":
        """Of requests that were all answered as they should be, each after so many seconds."""
        ranked = sorted(latencies_s)
        p50, p99 = (ranked[min(len(ranked) - 1, len(ranked) * part // 100)] * 1e6 for part in (50, 99))
        return cls(len(ranked), seconds, errors=0, p50_us=p50, p99_us=p99)

    def expect(self, what: str, *, errors: bool) -> "Outcome":
        """This outcome, if every request was answered as it should be.

        Args:
            what: The measurement, for the message.
            errors: Whether all answers are to be errors (conflicts), or none.

        Raises:
            BenchError: It was not: what was measured is something else than it says.
        """
        wanted = self.requests if errors else 0
        if not self.requests or self.lost or self.errors != wanted:
            raise BenchError(
                f"{what}: of {self.requests} answers {self.errors} were errors where {wanted} were expected, "
                f"and {self.lost} requests were not answered"
            )
        return self
