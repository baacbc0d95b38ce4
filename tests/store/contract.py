"""What every store keeps, as tests: subclass `StoreContract`, provide the fixtures `store` and `clock`."""

from tests.store.claiming_contract import ClaimingContract
from tests.store.large_bodies_contract import LargeBodiesContract
from tests.store.settling_contract import SettlingContract
from tests.store.waiting_contract import WaitingContract
from tests.store.writing_contract import WritingContract


class StoreContract(
    ClaimingContract, WritingContract, SettlingContract, LargeBodiesContract, WaitingContract
):
    """Every clause of `sidecar/store/port.py`."""
