"""The reference of the configuration, written from the schema: every field, and a file of all defaults."""

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sidecar.config.environment import PREFIX
from sidecar.config.schema import Config
from sidecar.config.section import Section
from sidecar.config.shape import allowed_in, fields, holds_list, kinds_of, section_of, walk

_INTRODUCTION = f"""\
# Configuration

<!-- Written by `make docs` from the schema in `sidecar/config/`; edit the descriptions there. -->

One YAML file, given with `--config`. Every field has a default; without a file there is one policy,
`default`, for every POST and PATCH, key optional. How policies are chosen and what goes into them is told in
[policies.md](policies.md).

`idempotency-sidecar check FILE` says what is wrong with a file: line, field, and what is allowed. It exits 1
then; `--json` makes it an answer for machines. What is allowed and dangerous it warns of, with what would be
safe; with `--strict`, warnings exit 1. `--explain 'POST URL'` says which policy a request meets, and why.

- **Durations** are a number with a unit: `250ms`, `30s`, `15m`, `24h`, `7d`.
- **Sizes** are a number of bytes, or one with a unit: `0`, `512`, `64KiB`, `1MiB`, `1GiB`.
- **Values are what their field says**, not what YAML guesses: `mode: off` and `503: record` need no quotes.
- **Unknown fields are errors**, and so are fields given twice. Anchors, aliases and `<<` work.
- **The environment wins over the file.** `{PREFIX}STORE__URL` is `store.url`,
  `{PREFIX}POLICIES__0__LEASE` is `policies[0].lease`; the next free index adds a policy. A value that
  begins with `[`, `{{` or a quote is read as YAML, empty or `null` is null, any other is the text itself.
  Unknown names are errors.
- **Passwords never stand in the file.** An address with a password comes from `{PREFIX}STORE__URL`, or from
  a file that holds it as its only line: `url: file:/run/secrets/store-url`. In the address, the special
  characters of a password are percent-encoded: `#` is `%23`. `rediss://` takes the options `ssl_ca_certs`,
  `ssl_certfile`, `ssl_keyfile`, `ssl_cert_reqs` and `ssl_check_hostname` after a `?`.

## In an editor

`idempotency-sidecar check --schema > idempotency-sidecar.schema.json` writes a JSON Schema (2020-12) of the
file. An editor with yaml-language-server completes fields, shows what they mean and marks mistakes, where the
first line of the file names it:

```yaml
# yaml-language-server: $schema=idempotency-sidecar.schema.json
```

It sees less than `check` does: no bounds of durations, no files, nothing across sections.
"""


def render() -> str:
    """The whole page, as Markdown."""
    sections = [_section(name, field) for name, field in fields(Config).items()]
    return "\n".join([_INTRODUCTION, "## All defaults\n", f"```yaml\n{defaults()}```\n", *sections])


def defaults() -> str:
    """A configuration file that spells out every default."""
    return "".join(f"{line}\n" for line in _lines(Config, Config(), ""))


def _lines(section: type[Section], values: Section, indent: str) -> Iterator[str]:
    for (name, field), attribute in zip(fields(section).items(), section.model_fields, strict=True):
        value, inner = getattr(values, attribute), section_of(field)
        if inner is None or value is None:
            yield f"{indent}{name}: {_shown(field, value)}"
        elif holds_list(field):
            yield f"{indent}{name}:"
            for item in value:
                first, *rest = _lines(inner, item, f"{indent}    ")
                yield f"{indent}  - {first.strip()}"
                yield from rest
        else:
            yield f"{indent}{name}:"
            yield from _lines(inner, value, f"{indent}  ")


def _section(name: str, field: FieldInfo) -> str:
    section = section_of(field)
    rows = [_row(inner, each) for inner, each in walk(section)] if section else []
    item = ": a list, each item with" if holds_list(field) else ""
    head = ["| field | type | default | allowed | meaning |", "|---|---|---|---|---|"]
    return "\n".join([f"## `{name}`{item}\n", f"{field.description}\n", *head, *rows, ""])


def _row(name: str, field: FieldInfo) -> str:
    if section_of(field) is not None:
        default = "`null`" if field.default is None else ""
        cells = (f"`{name}`", "mapping", default, "", f"{field.description}")
    else:
        default = "required" if field.is_required() else f"`{_shown(field, field.default)}`"
        cells = (f"`{name}`", _type(field), default, _plain(allowed_in(field)), f"{field.description}")
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Text in which Markdown finds nothing to format."""
    return re.sub(r"([*_|<`\[])", r"\\\1", text)


def _type(field: FieldInfo) -> str:
    types = [kind.type or kind.noun.removeprefix("an ").removeprefix("a ") for kind in kinds_of(field)]
    if len(types) > 1:
        return f"mapping of {' to '.join(types)}"
    return f"list of {types[0]}s" if holds_list(field) else types[0]


def _shown(field: FieldInfo, value: Any) -> str:  # noqa: ANN401  # a field's value is of any type
    """A value as it would be written in the file."""
    if value is None or value is PydanticUndefined:
        return "null"
    if isinstance(value, dict):
        return "{}"
    show = kinds_of(field)[0].show
    if isinstance(value, tuple):
        return f"[{', '.join(map(show, value))}]"
    return str(value) if isinstance(value, StrEnum) else show(value)
