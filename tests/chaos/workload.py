"""The keys of a run and the calls of its clients: made from the seed alone."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from tests.chaos.history import Call, Departure, Identity, Key
from tests.chaos.plan import STACKS
from tests.chaos.policies import POLICIES, PolicyUnderTest

KEYS_PER_S = 7.0
CALLERS = ("alice", "bob")
"""Each key's name belongs to both of them, on the same path."""

_LARGE = 200_000
_CARELESS = 0.06
_LEAVES = 0.22
_DEPARTURES = [departure for departure in Departure if departure is not Departure.NEVER]
_RETRIES_S = ((0.6, 2.0), (2.0, 5.0), (5.0, 12.0))
"""When, after its first call, a key is called again."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What is asked, and in which order it is asked for."""

    keys: tuple[Key, ...]
    calls: tuple[Call, ...]


def workload(
    seed: int, duration_s: float, policies: tuple[PolicyUnderTest, ...] = POLICIES, per_s: float = KEYS_PER_S
) -> Workload:
    """The keys and calls of a run of so many seconds."""
    rng = random.Random(f"{seed} workload")
    count = max(1, int(duration_s * per_s))
    keys = tuple(_key(rng, number, policies) for number in range(count))
    calls = [call for number, key in enumerate(keys) for call in _calls(rng, number, key, per_s)]
    return Workload(keys, tuple(sorted(calls, key=lambda call: call.at_s)))


def final_calls(keys: tuple[Key, ...], round_number: int) -> tuple[Call, ...]:
    """One patient retry of every key, the two rounds through different stacks and protocols."""
    return tuple(
        Call(
            at_s=0.0,
            key=key,
            request_id=f"final-{round_number}-{number}",
            stack=(number + round_number) % STACKS,
            http2=(number // STACKS + round_number) % 2 == 1,
            sized=True,
            final=True,
        )
        for number, key in enumerate(keys)
    )


def _key(rng: random.Random, number: int, policies: tuple[PolicyUnderTest, ...]) -> Key:
    pair, caller = divmod(number, len(CALLERS))
    policy = policies[pair % len(policies)]
    identity = Identity(policy.name, CALLERS[caller], f"key-{pair}")
    note = "x" * rng.choice((0, 10, 2_000, 20_000))
    order = f'{{"order": "{identity}", "note": "{note}"}}'.encode()
    return Key(
        identity=identity,
        policy=policy,
        path=f"{policy.prefix}/orders",
        payload=order if rng.random() < 0.9 else b"",
        other_payload=order + b" ",
        work_s=rng.choice((0.0, 0.02, 0.1, 0.3, 1.4)),
        response_size=_LARGE if rng.random() < 0.05 else rng.choice((0, 100, 5_000)),
        sized=rng.random() < 0.5,
        first_moods=_first_moods(rng),
    )


def _first_moods(rng: random.Random) -> tuple[str, ...]:
    """Mostly none; some upstreams refuse once or twice, some fail."""
    return rng.choices(((), ("503",), ("503", "503"), ("502",), ("cut",), ("drop",)), (80, 8, 3, 3, 3, 3))[0]


def _calls(rng: random.Random, number: int, key: Key, per_s: float) -> Iterator[Call]:
    """A burst of duplicates, and retries later on."""
    begins_s = number / per_s
    burst = [begins_s + rng.uniform(0, 0.4) for _ in range(rng.randint(1, 4))]
    retries = [begins_s + rng.uniform(*window) for window in _RETRIES_S if rng.random() < 0.75]
    for count, at_s in enumerate([*burst, *retries]):
        http2 = rng.random() < 0.5
        yield Call(
            at_s=round(at_s, 4),
            key=key,
            request_id=f"call-{number}-{count}",
            stack=rng.randrange(STACKS),
            http2=http2,
            sized=rng.random() < 0.7,
            careless=rng.random() < _CARELESS,
            departure=rng.choice(_DEPARTURES) if rng.random() < _LEAVES else Departure.NEVER,
            patience_s=round(rng.choice((0.0, 0.005, 0.05, 0.3)), 3),
        )
