"""Regenerates what is generated in docs, envoy and deploy: `make docs`; `--check` only says what is stale."""

import subprocess
import sys
from pathlib import Path

import scaling  # the module next to this script

from sidecar.config import reference
from sidecar.envoyconf.examples import render_examples, render_mesh_examples
from sidecar.exchange import diagram

ROOT = Path(__file__).parent.parent


COMPOSE = ROOT / "deploy" / "compose"
_FOR_COMPOSE = (
    *("--config", str(COMPOSE / "sidecar.yaml"), "--format", "bootstrap"),
    *("--upstream", "http://app:8000", "--listen", "0.0.0.0:8080"),
)


def _compose() -> str:
    """The compose deployment's Envoy, as a user would render it."""
    command = [sys.executable, "-m", "sidecar", "envoy-config", *_FOR_COMPOSE]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 (our own)


def _scaling() -> dict[Path, str]:
    """The page about scaling, which only a benchmark's results can make."""
    try:
        return {ROOT / "docs" / "scaling.md": scaling.render(scaling.Costs.read())}
    except scaling.ResultsError as error:
        sys.stderr.write(f"docs/scaling.md is left as it is: {error}\n")
        return {}


def rendered() -> dict[Path, str]:
    """Every generated file and what it should hold."""
    examples = {ROOT / "envoy" / name: text for name, text in render_examples().items()}
    meshes = {ROOT / "deploy" / name: text for name, text in render_mesh_examples().items()}
    return {
        ROOT / "docs" / "configuration.md": reference.render(),
        ROOT / "docs" / "exchange.md": diagram.render(),
        **_scaling(),
        COMPOSE / "envoy.yaml": _compose(),
        **examples,
        **meshes,
    }


def main() -> int:
    """Write what differs; with `--check` write nothing and exit with 1 where something differs."""
    check = "--check" in sys.argv[1:]
    pages = rendered()
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        sys.stderr.write(f"{'stale, run make docs' if check else 'written'}: {path.relative_to(ROOT)}\n")
        if not check:
            path.write_text(pages[path])
    return 1 if check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
