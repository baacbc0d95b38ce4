"""`envoy-config`: prints the Envoy side of a configuration (CONTRACT §2)."""

import os
from pathlib import Path
from typing import Annotated

import typer

from sidecar.cli.ending import misused, refused
from sidecar.config.errors import ConfigError
from sidecar.config.loading import Settings, load

_FORMATS = ("bootstrap", "filter")
_VERSION = "1.40"
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - replaced, not bound to


def envoy_config(
    config: Annotated[Path, typer.Option(metavar="FILE", help="The sidecar's configuration.")],
    output: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="bootstrap: a whole Envoy. filter: the HTTP filter and its cluster, for an Envoy you have.",
        ),
    ] = "bootstrap",
    upstream: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Your service: http://HOST:PORT, https://HOST or h2c://HOST:PORT; bootstrap needs it.",
            show_default=False,
        ),
    ] = None,
    listen: Annotated[
        str, typer.Option(metavar="IP:PORT", help="Where Envoy listens (bootstrap).")
    ] = "127.0.0.1:8080",
    envoy_version: Annotated[str, typer.Option(metavar="VERSION", help="The Envoy it is for.")] = _VERSION,
) -> None:
    """Print the Envoy configuration for a sidecar configuration, as YAML.

    Render it again when the policies or the sidecar's endpoints change.
    """
    _check_usage(output, upstream, envoy_version)
    try:
        settings = load(config, os.environ)
    except ConfigError as error:
        raise refused(*map(str, error.problems)) from None
    try:
        text = _render(settings, output, upstream, listen)
    except ValueError as error:
        raise misused(str(error)) from None
    typer.echo(text, nl=False)


def endpoints(settings: Settings) -> tuple[str, ...]:
    """Where an Envoy on this machine reaches each worker of a configuration.

    A worker that listens on every address is reached by the loopback one.
    """
    server, reached = settings.server, []
    for worker in range(server.workers):
        address = server.listen.for_worker(worker, server.workers).address
        host, colon, port = address.rpartition(":")
        loopback = _EVERY_ADDRESS.get(host.strip("[]"))
        if loopback is not None:
            address = f"[{loopback}]{colon}{port}" if ":" in loopback else f"{loopback}{colon}{port}"
        reached.append(address)
    return tuple(reached)


def _check_usage(output: str, upstream: str | None, envoy_version: str) -> None:
    if output not in _FORMATS:
        raise misused(f"--format {output} is not available; allowed: {' or '.join(_FORMATS)}")
    if envoy_version != _VERSION and not envoy_version.startswith(f"{_VERSION}."):
        raise misused(f"--envoy-version {envoy_version} is not available; allowed: {_VERSION}")
    if output == "bootstrap" and upstream is None:
        raise misused("--format bootstrap needs --upstream; allowed: a URL such as http://127.0.0.1:3000")


def _render(settings: Settings, output: str, upstream: str | None, listen: str) -> str:
    # Envoy's types take most of a second to load, which the other commands need not wait for.
    from sidecar.envoyconf.bootstrap import render_bootstrap  # noqa: PLC0415 - see above
    from sidecar.envoyconf.filter import render_filter  # noqa: PLC0415 - see above
    from sidecar.envoyconf.inputs import EnvoyInputs, Upstream  # noqa: PLC0415 - with its users

    inputs = EnvoyInputs(
        policies=settings.policies,
        endpoints=endpoints(settings),
        store_timeout_ms=settings.store.timeout_ms,
        listen=listen,
        upstream=None if upstream is None else Upstream.parse(upstream),
        origin=settings.origin.url,
    )
    return render_bootstrap(inputs) if output == "bootstrap" else render_filter(inputs)
