"""`envoy-config`: prints the Envoy side of a configuration (CONTRACT §2)."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from sidecar.cli.ending import misused, refused
from sidecar.config.errors import ConfigError
from sidecar.config.kinds import one_of
from sidecar.config.loading import Settings, load
from sidecar.envoyconf.addresses import UnixAddress, parse_endpoint, parse_tcp
from sidecar.envoyconf.inputs import EnvoyInputs, SidecarTls, Upstream
from sidecar.envoyconf.placement import Placement, read_labels, read_target
from sidecar.envoyconf.version import NEWEST, EnvoyVersion

_FORMATS = ("bootstrap", "filter", "istio", "envoy-gateway")


def envoy_config(  # noqa: PLR0913, PLR0917 - an argument is an option of the command line here
    config: Annotated[Path, typer.Option(metavar="FILE", help="The sidecar's configuration.")],
    output: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="bootstrap: a whole Envoy. filter: the HTTP filter and its cluster, for an Envoy you have. "
            "istio: an EnvoyFilter. envoy-gateway: an EnvoyExtensionPolicy and what it cannot say.",
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
    sidecar_ca: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Where server.tls is set: who signs the sidecar's certificate. Paths as Envoy sees them.",
            show_default=False,
        ),
    ] = None,
    sidecar_cert: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="The certificate that Envoy shows the sidecar.", show_default=False
        ),
    ] = None,
    sidecar_key: Annotated[
        str | None, typer.Option(metavar="PATH", help="Its private key.", show_default=False)
    ] = None,
    sidecar_name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Who the sidecar is by its certificate: a DNS name, an IP address or a URI.",
            show_default=False,
        ),
    ] = None,
    sidecar_host: Annotated[
        str | None,
        typer.Option(
            metavar="HOST",
            help="Where Envoy reaches the sidecar, if not at server.listen, such as NAME.NAMESPACE.svc.",
            show_default=False,
        ),
    ] = None,
    envoy_version: Annotated[
        str, typer.Option(metavar="VERSION", help="The Envoy it is for: 1.36 to 1.40, or a release of one.")
    ] = str(NEWEST),
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Of the resources (istio, envoy-gateway).")
    ] = "idempotency",
    namespace: Annotated[
        str, typer.Option(metavar="NAMESPACE", help="Of the resources, and of what they are for.")
    ] = "default",
    workload: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="A label of the pods it is for; may be given again (istio). All of the namespace without.",
            show_default=False,
        ),
    ] = None,
    gateway: Annotated[
        bool, typer.Option("--gateway", help="For the gateways among them, not for their sidecars (istio).")
    ] = False,
    target: Annotated[
        str, typer.Option(metavar="GATEWAY/LISTENER", help="The listener it is for (envoy-gateway).")
    ] = "eg/http",
) -> None:
    """Print the Envoy configuration for a sidecar configuration, as YAML.

    Render it again when the policies or the sidecar's endpoints change.
    """
    version = _check_usage(output, upstream, envoy_version)
    try:
        settings = load(config, os.environ)
    except ConfigError as error:
        raise refused(*map(str, error.problems)) from None
    tls_options = {
        "--sidecar-ca": sidecar_ca,
        "--sidecar-cert": sidecar_cert,
        "--sidecar-key": sidecar_key,
        "--sidecar-name": sidecar_name,
    }
    try:
        placement = Placement(name, namespace, read_labels(workload or ()), gateway, *read_target(target))
        inputs = EnvoyInputs(
            policies=settings.policies,
            endpoints=endpoints(settings, sidecar_host),
            store_timeout_ms=settings.store.timeout_ms,
            listen=listen,
            upstream=None if upstream is None else Upstream.parse(upstream),
            origin=settings.origin.url,
            sidecar_tls=_sidecar_tls(settings, tls_options),
            envoy_version=version,
        )
        text = _render(output, inputs, placement)
    except ValueError as error:
        raise misused(str(error)) from None
    typer.echo(text, nl=False)


def endpoints(settings: Settings, host: str | None = None) -> tuple[str, ...]:
    """Where an Envoy reaches each worker of a configuration.

    A worker that listens on every address is reached by the loopback one; at `host` where one is given.

    Raises:
        ValueError: A host is given, and is none, or the workers listen on sockets.
    """
    server = settings.server
    workers = (server.listen.for_worker(worker, server.workers) for worker in range(server.workers))
    reachable = tuple(endpoint.reachable.address for endpoint in workers)
    return reachable if host is None else tuple(_at(host, address) for address in reachable)


def _at(host: str, address: str) -> str:
    """The port of an address, at another host."""
    found = parse_endpoint(address)
    if isinstance(found, UnixAddress):
        raise ValueError(  # noqa: TRY004 - what the user wrote is wrong, no argument of a function
            "--sidecar-host is given and server.listen is a socket; allowed: server.listen at HOST:PORT"
        )
    return str(parse_tcp(f"{host}:{found.port}"))


def _check_usage(output: str, upstream: str | None, envoy_version: str) -> EnvoyVersion:
    """The version that is meant, where everything else is well."""
    if output not in _FORMATS:
        raise misused(f"--format {output} is not available; allowed: {one_of(_FORMATS)}")
    if output == "bootstrap" and upstream is None:
        raise misused("--format bootstrap needs --upstream; allowed: a URL such as http://127.0.0.1:3000")
    return read_version(envoy_version)


def read_version(text: str) -> EnvoyVersion:
    """The version that `--envoy-version` names; ends the command where it names none that is supported."""
    try:
        return EnvoyVersion.parse(text)
    except ValueError as error:
        raise misused(f"--envoy-version {error}") from None


def _sidecar_tls(settings: Settings, options: Mapping[str, str | None]) -> SidecarTls | None:
    """Envoy's side of TLS: all of its options, or where the sidecar has none, perhaps none.

    Where the sidecar's own files are elsewhere, its `server.tls` may be left out for the rendering.

    Raises:
        ValueError: An option is missing, or is not a path or a name.
    """
    missing = [option for option, value in options.items() if value is None]
    if len(missing) == len(options) and settings.server.tls is None:
        return None
    if missing:
        why = "server.tls is set" if settings.server.tls is not None else "TLS to the sidecar is asked for"
        raise ValueError(f"{why}, without {one_of(missing, 'and')}; allowed: {one_of(options, 'and')}")
    ca, certificate, key, name = (value or "" for value in options.values())
    return SidecarTls(ca, certificate, key, name)


def _render(output: str, inputs: EnvoyInputs, placement: Placement) -> str:
    # Envoy's types take most of a second to load, which the other commands need not wait for.
    from sidecar.envoyconf.bootstrap import render_bootstrap  # noqa: PLC0415 - Envoy's types load slowly
    from sidecar.envoyconf.envoy_gateway import render_envoy_gateway  # noqa: PLC0415 - Envoy's types load slowly
    from sidecar.envoyconf.filter import render_filter  # noqa: PLC0415 - Envoy's types load slowly
    from sidecar.envoyconf.istio import render_istio  # noqa: PLC0415 - Envoy's types load slowly

    if output == "istio":
        return render_istio(inputs, placement)
    if output == "envoy-gateway":
        return render_envoy_gateway(inputs, placement)
    return render_bootstrap(inputs) if output == "bootstrap" else render_filter(inputs)
