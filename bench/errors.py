"""What can go wrong with a benchmark; each message is one line that a person can act on."""


class BenchError(Exception):
    """Something did not run as a measurement needs it: the run is worth nothing and ends."""


class UnavailableError(Exception):
    """A part that may be missing on a machine is missing: it is skipped, with this reason in the output."""
