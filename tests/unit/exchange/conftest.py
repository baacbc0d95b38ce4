import pytest

from tests.unit.exchange.scenes import Teller


@pytest.fixture
def tell() -> Teller:
    return Teller()
