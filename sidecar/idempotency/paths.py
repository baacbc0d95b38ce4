r"""Paths as Envoy passes them on, where it normalises them and merges slashes.

A policy that is chosen by path must not be evaded by another spelling of it. Envoy, as `envoyconf` renders
it, rewrites every path before it routes it; an Envoy that somebody else configured may not. So the same is
done here, by the rules that Envoy 1.40 was seen to follow (tests/e2e/test_paths_as_envoy.py compares them):
`\` is a slash, escapes are taken off where none is needed and put where one is, `.` and `..` are resolved,
slashes are merged.

A path that Envoy refuses may have any form here: none of them is executed.
"""

import re

_NEEDS_NOTHING = re.compile(r'[^%\\"<>^`{|}]*+').fullmatch
_UNNEEDED_ESCAPE = re.compile(r"%(2[DdEe]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe])")
"""Of letters, digits, `-`, `.`, `_` and `~` (RFC 3986 §2.3)."""
_NEEDED_ESCAPES = str.maketrans({character: f"%{ord(character):02X}" for character in '"<>^`{|}'})
# A percent sign that begins no escape, but would begin one if the escapes behind it were taken off: as it is,
# "%4%31" would become "%41", an escape that the client did not write. Envoy writes the sign as %25 then.
_HEX_IN_ANY_FORM = r"(?:[0-9A-Fa-f]|%3[0-9]|%[46][1-6])"
_NESTED_ESCAPE = re.compile(rf"%(?![0-9A-Fa-f]{{2}})(?={_HEX_IN_ANY_FORM}{{2}})")
_SLASHES = re.compile(r"//+")
_DOT_PARAMETERS = re.compile(r"(?<=/)(\.\.?);[^/]*+")
"""Envoy takes `..;x` for `..`, as servlet containers do; not where a dot is written `%2e`."""


def normalise(path: str) -> str:
    """The path, without its query, as Envoy would pass it on.

    `%2F` and `%5C` stay what they are: whether they separate segments is up to whoever decodes them.
    """
    if _NEEDS_NOTHING(path) and "/." not in path and "//" not in path:
        return path
    if not path.startswith(("/", "\\")):
        return path
    path = _DOT_PARAMETERS.sub(r"\1", path)
    return _merged(_resolved(_escaped(path.replace("\\", "/"))))


def _escaped(path: str) -> str:
    if "%" in path:
        path = _NESTED_ESCAPE.sub("%25", path)
        path = _UNNEEDED_ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), path)
    return path.translate(_NEEDED_ESCAPES)


def _resolved(path: str) -> str:
    """Without `.` and `..` (RFC 3986 §5.2.4); an empty segment is one, too, until slashes are merged."""
    if "/." not in path:
        return path
    kept: list[str] = []
    *segments, last = path[1:].split("/")
    for segment in segments:
        _step(kept, segment)
    _step(kept, last)
    # What ends in a dot segment names a directory: its slash stays.
    return "/" + "/".join([*kept, ""] if last in {".", ".."} and kept else kept)


def _step(kept: list[str], segment: str) -> None:
    if segment == "..":
        del kept[-1:]
    elif segment != ".":
        kept.append(segment)


def _merged(path: str) -> str:
    """With one slash for many. A path of nothing but slashes keeps two of them: so Envoy does."""
    if "//" not in path:
        return path
    merged = _SLASHES.sub("/", path)
    return "//" if merged == "/" else merged
