"""What is rendered for an Envoy, and what that Envoy says to it."""

import subprocess
from pathlib import Path

from sidecar.envoyconf.bootstrap import render_bootstrap
from sidecar.envoyconf.examples import example_inputs
from sidecar.envoyconf.version import EnvoyVersion
from tests.envoys.programs import Version


def configuration_for(version: Version) -> str:
    """The bootstrap that is rendered for this release, with every kind of policy that changes its form."""
    return render_bootstrap(example_inputs(EnvoyVersion.parse(version)))


def complaint(program: Path, configuration: str, scratch: Path) -> str | None:
    """What this Envoy says against a bootstrap configuration; None where it accepts it.

    Args:
        program: Envoy's.
        configuration: The text of a file.
        scratch: An existing directory for it.
    """
    file = scratch / "validated.yaml"
    file.write_text(configuration, encoding="utf-8")
    options = ("--mode", "validate", "--disable-hot-restart", "--log-level", "error")
    command = (str(program), *options, "--config-path", str(file))
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    last = done.stderr.strip().splitlines()[-1]
    return " ".join(last.split())  # protobuf strews spaces over its errors, so that nobody matches their text
