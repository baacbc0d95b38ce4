"""Protobuf's wire, as far as large fields need it (https://protobuf.dev/programming-guides/encoding).

Protobuf's library copies a body into a message, out of it, and once more for each message around it. But a
serialised message is its fields one after the other, in any order. So the body is put behind what the library
has serialised without it, and copied once.
"""

VARINT, _LENGTH_DELIMITED, FIXED32 = 0, 2, 5
"""The types of fields on the wire, as a tag has them in its three lowest bits."""


def head_of_bytes(field: int, size: int) -> bytes:
    """What stands in front of a field of `size` bytes: its number (1 to 15) and its type, and the size."""
    tag = field << 3 | _LENGTH_DELIMITED
    if size <= 0x7F:
        return bytes((tag, size))
    head = bytearray((tag,))
    while size > 0x7F:  # seven bits a byte, the lowest first; the top bit says "more"
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head)
