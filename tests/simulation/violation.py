"""What a simulation looks for."""


class Violation(Exception):  # noqa: N818 (what was found, not what went wrong here)
    """Something happened that a rule excludes.

    Args:
        rule: A guarantee (CONTRACT §1: G1 to G5), an invariant (DESIGN), `leases` or `metrics`.
        what: What happened.
    """

    def __init__(self, rule: str, what: str) -> None:
        super().__init__(f"{rule}: {what}")
        self.rule = rule
