"""The configuration of a stack's own Envoy, as files: what stays, and what follows the policies."""

from dataclasses import replace
from pathlib import Path

from sidecar.envoyconf.inputs import EnvoyInputs
from sidecar.idempotency.policy import Policies


class EnvoyFiles:
    """A bootstrap, and the listeners beside it, which Envoy takes anew when they are written anew.

    Args:
        directory: Where they are.
        inputs: What they depend on; the policies may be replaced later.
    """

    def __init__(self, directory: Path, inputs: EnvoyInputs) -> None:
        self.bootstrap = directory / "envoy.yaml"
        self._listeners = directory / "envoy_listeners.yaml"
        self._inputs = inputs
        self._written = ""

    def write(self) -> None:
        """Write both.

        Raises:
            ValueError: An `https://` upstream cannot be verified on this machine.
        """
        from sidecar.envoyconf import bootstrap  # noqa: PLC0415 - Envoy's types load slowly

        self.follow(self._inputs.policies)
        text = bootstrap.render_bootstrap(self._inputs, str(self._listeners))
        self.bootstrap.write_text(text, encoding="utf-8")

    def follow(self, policies: Policies) -> bool:
        """Write the listeners for these policies; whether they differ from those before.

        The new file is renamed over the old one: Envoy looks for that, and never sees half a file.
        """
        from sidecar.envoyconf import bootstrap  # noqa: PLC0415 - Envoy's types load slowly

        self._inputs = replace(self._inputs, policies=policies)
        text = bootstrap.render_listeners(self._inputs)
        if text == self._written:
            return False
        written = self._listeners.with_suffix(".new")
        written.write_text(text, encoding="utf-8")
        written.replace(self._listeners)
        self._written = text
        return True
