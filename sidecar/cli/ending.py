"""How a command ends when the answer is no: lines for a person on stderr, and an exit code (CONTRACT §2)."""

import typer

NO = 1
USAGE = 2


def refused(*lines: str) -> typer.Exit:
    """To be raised: what was asked for cannot be had, and why."""
    return _ending(NO, lines)


def misused(*lines: str) -> typer.Exit:
    """To be raised: the command was called wrongly, and what is allowed."""
    return _ending(USAGE, lines)


def _ending(code: int, lines: tuple[str, ...]) -> typer.Exit:
    for line in lines:
        typer.echo(line, err=True)
    return typer.Exit(code)
