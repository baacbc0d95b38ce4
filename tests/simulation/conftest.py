"""How a run of the simulation is chosen: from a new seed each time, or one seed again."""

import os
from random import SystemRandom

import pytest

OPTION = "--simulation-seed"
SEED_VARIABLE = "SIMULATION_SEED"
SCHEDULES_VARIABLE = "SIMULATION_SCHEDULES"
SCHEDULES = 20_000


def pytest_addoption(parser: pytest.Parser) -> None:
    """The seed as an option; it is known where this folder is named on the command line."""
    parser.addoption(OPTION, type=int, default=None, help="replay the simulated schedule of this seed")


@pytest.fixture(scope="session")
def given_seed(pytestconfig: pytest.Config) -> int | None:
    """The seed that is to be replayed, where one is."""
    option: int | None = pytestconfig.getoption(OPTION, None)
    given = os.environ.get(SEED_VARIABLE)
    return option if option is not None or not given else int(given)


@pytest.fixture(scope="session")
def base_seed(given_seed: int | None) -> int:
    """Where the seeds of this run begin."""
    return SystemRandom().getrandbits(40) if given_seed is None else given_seed


@pytest.fixture(scope="session")
def schedules(given_seed: int | None) -> int:
    """How many schedules are run: one, where its seed is given."""
    return int(os.environ.get(SCHEDULES_VARIABLE, SCHEDULES)) if given_seed is None else 1
