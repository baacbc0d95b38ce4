"""Regenerates what is generated in docs/ and envoy/: `make docs`; `--check` only says what is stale."""

import sys
from pathlib import Path

from sidecar.config import reference
from sidecar.envoyconf.examples import render_examples
from sidecar.exchange import diagram

ROOT = Path(__file__).parent.parent


def rendered() -> dict[Path, str]:
    """Every generated file and what it should hold."""
    examples = {ROOT / "envoy" / name: text for name, text in render_examples().items()}
    return {
        ROOT / "docs" / "configuration.md": reference.render(),
        ROOT / "docs" / "exchange.md": diagram.render(),
        **examples,
    }


def main() -> int:
    """Write what differs; with `--check` write nothing and exit with 1 where something differs."""
    check = "--check" in sys.argv[1:]
    stale = [path for path, text in rendered().items() if not path.exists() or path.read_text() != text]
    for path in stale:
        sys.stderr.write(f"{'stale, run make docs' if check else 'written'}: {path.relative_to(ROOT)}\n")
        if not check:
            path.write_text(rendered()[path])
    return 1 if check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
