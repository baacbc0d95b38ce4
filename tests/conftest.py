"""What holds for all tests: this process seldom pauses for long, and Hypothesis bears with a busy machine."""

import gc

from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")  # all else is as it was: as in CI, or as elsewhere


def pytest_collection_finish() -> None:
    """Take all that is there by then out of the garbage collector's rounds: it stays until the end anyway.

    That is half a million objects, and a full round looks at every one of them. For a third of a second, at
    any moment, no thread of this process runs then: no test, and neither its clients nor its upstreams, while
    many a test says how quick something has to be.
    """
    gc.collect()
    gc.freeze()
