"""Whether one match takes all that another does: never said where it is not so."""

import random

import pytest

from sidecar.config.hiding import Reach
from sidecar.config.policy_schema import MatchSection
from sidecar.idempotency.patterns import PathPattern


def reach(**parts: object) -> Reach:
    return Reach.of(MatchSection.model_validate(parts))


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ({}, {}),
        ({}, {"paths": ["/a"], "hosts": ["a.example"], "route": "r"}),
        ({"methods": []}, {"methods": []}),
        ({"methods": ["POST", "PUT"]}, {"methods": ["PUT"]}),
        ({"hosts": ["*.example.com"]}, {"hosts": ["api.example.com", "*.eu.example.com"]}),
        ({"hosts": ["example.com"]}, {"hosts": ["EXAMPLE.com:8443"]}),
        ({"paths": ["/v1/**"]}, {"paths": ["/v1", "/v1/a", "/v1/*/b", "/v1/**"]}),
        ({"paths": ["/**"]}, {"paths": ["/**/a"]}),
        ({"paths": ["/*/b"]}, {"paths": ["/a/b", "/a*/b"]}),
        ({"route": "r"}, {"route": "r"}),
    ],
)
def test_what_is_as_wide_or_wider_hides(wide: dict[str, object], narrow: dict[str, object]) -> None:
    assert reach(**wide).hides(reach(**narrow))


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ({"methods": ["POST"]}, {"methods": ["POST", "PUT"]}),
        ({"methods": ["POST"]}, {"methods": []}),
        ({"hosts": ["a.example"]}, {}),
        ({"hosts": ["a.example:80"]}, {"hosts": ["a.example"]}),
        ({"hosts": ["*.example"]}, {"hosts": ["example"]}),
        ({"paths": ["/a"]}, {}),
        ({"paths": ["/a/*"]}, {"paths": ["/a/**"]}),
        ({"paths": ["/*/*"]}, {"paths": ["/**"]}),
        ({"paths": ["/a/b"]}, {"paths": ["/a/*"]}),
        ({"route": "r"}, {}),
        ({"route": "r"}, {"route": "s"}),
    ],
)
def test_what_leaves_a_request_to_the_later_one_hides_nothing(
    earlier: dict[str, object], later: dict[str, object]
) -> None:
    assert not reach(**earlier).hides(reach(**later))


def test_no_path_of_a_hidden_glob_escapes_the_glob_that_hides_it() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - a random test prints its seed
    draw = random.Random(seed)
    hidden = 0
    for _ in range(3000):
        wide, narrow = (
            "/" + "/".join(draw.choices(["a", "b", "*", "a*", "**"], k=draw.randint(1, 3))) for _ in range(2)
        )
        if max(wide.count("**"), narrow.count("**")) > 1:
            continue
        if reach(paths=[wide]).hides(reach(paths=[narrow])):
            hidden += 1
            for _ in range(20):
                path = "/" + "/".join(draw.choices(["a", "b", "ab", "", "c"], k=draw.randint(0, 4)))
                assert not PathPattern(narrow).matches(path) or PathPattern(wide).matches(path), (
                    wide,
                    narrow,
                )
    assert hidden > 100
