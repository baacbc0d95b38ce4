r"""Reads a rendered skip matcher as Envoy does, independently of the code that made it.

RE2 matches bytes as UTF-8: a negated class takes one valid character, `\C` takes any byte, valid or not.
Bytes that are no valid UTF-8 become lone surrogates here, which no negated class may take.
"""

import re
from collections.abc import Mapping
from typing import Any

Headers = Mapping[str, bytes]


def skips(matcher: Mapping[str, Any], headers: Headers) -> bool:
    """Whether Envoy would skip the filter for a request with these headers, pseudo-headers among them."""
    for entry in matcher["matcher_list"]["matchers"]:
        action = entry["on_match"]["action"]["typed_config"]["@type"]
        assert action.endswith("action.v3.SkipFilter")
        if holds(entry["predicate"], headers):
            return True
    return False


def holds(predicate: Mapping[str, Any], headers: Headers) -> bool:
    """Whether a predicate holds; one over a header that is absent does not."""
    ((kind, operand),) = predicate.items()
    if kind == "not_matcher":
        return not holds(operand, headers)
    if kind in {"and_matcher", "or_matcher"}:
        operands = operand["predicate"]
        assert len(operands) >= 2, "Envoy wants at least two"
        return (all if kind == "and_matcher" else any)(holds(part, headers) for part in operands)
    assert kind == "single_predicate"
    value = headers.get(operand["input"]["typed_config"]["header_name"])
    return value is not None and full_match(operand["value_match"]["safe_regex"]["regex"], value)


def full_match(regex: str, value: bytes) -> bool:
    """RE2's FullMatch of an expression of the kinds that the renderer writes."""
    assert "[^\\" not in regex
    flags = re.IGNORECASE if "(?i)" in regex else re.NOFLAG
    translated = regex.replace("(?i)", "").replace("[^", "[^\udc80-\udcff").replace(r"\C", r"[\s\S]")
    assert not re.search(r"(?<!\\)\.", translated), "a dot that RE2 would not match with every byte"
    return re.fullmatch(translated, value.decode("utf-8", "surrogateescape"), flags) is not None
