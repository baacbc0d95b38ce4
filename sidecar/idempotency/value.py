"""The base of the immutable values: events, effects, claims, records, and what they are made of."""

from typing import dataclass_transform

import msgspec


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Value(msgspec.Struct, frozen=True, gc=False):
    """Its fields are given once, by position or by name; values of one class with equal fields are equal.

    An exchange makes some thirty of them. A frozen dataclass sets each field by way of `object.__setattr__`,
    in Python; a struct is made in C, and refuses an assignment all the same. The decorator tells mypy that
    the subclasses are frozen as this is.

    `gc=False`: the garbage collector need not look at a value. It holds bytes, text, numbers, members of
    enums, tuples, mappings and JSON of these, and other values: nothing that could refer back to it. A class
    that holds anything else says `gc=True`.
    """
