"""The shape of `server` (CONTRACT §3): where the sidecar listens, how, and with how many processes."""

from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, ValidationInfo, field_validator, model_validator

from sidecar.config.endpoint import ENDPOINT_FORM, HOST_PORT_FORM, MAX_PORT, Endpoint, HostPort
from sidecar.config.errors import RefusedError
from sidecar.config.fragments import string
from sidecar.config.kinds import Kind, choice, octal_mode, whole_number
from sidecar.config.section import Section
from sidecar.config.tls import ServerTls, certificate_file, check_pair, key_file

Transport: TypeAlias = Literal["grpcio", "native"]
DEFAULT_TRANSPORT: Transport = "native"
_PORT = ".+:[0-9]{1,5}"
_ENDPOINT = Kind("an endpoint", ENDPOINT_FORM, Endpoint.parse, fragment=string(f"unix:///.+|{_PORT}"))
_ADDRESS = Kind("an address", HOST_PORT_FORM, HostPort.parse, fragment=string(_PORT))


class TlsSection(Section):
    """The files of mutual TLS."""

    certificate: Annotated[Path, certificate_file("the sidecar's certificate and the intermediate ones")] = (
        Field(description="What the sidecar shows Envoy.")
    )
    key: Annotated[Path, key_file()] = Field(description="The certificate's private key, without a password.")
    client_ca: Annotated[Path, certificate_file("the authorities of client certificates")] = Field(
        description="Who signs Envoy's certificate; a client without one is refused."
    )

    @model_validator(mode="after")
    def _can_be_used(self) -> Self:
        check_pair(self.certificate, self.key)
        return self


class ServerSection(Section):
    """Where the sidecar listens, and with how many processes."""

    listen: Annotated[Endpoint, _ENDPOINT] = Field(
        default=Endpoint(path="/run/idempotency/ext_proc.sock"),
        description="Where Envoy reaches the sidecar. With several workers, worker i has the path with `.i` "
        "after it, or the port plus i.",
    )
    socket_mode: Annotated[int, octal_mode()] = Field(
        default=0o600,
        description="The permissions of the unix socket: who may write to it may claim and complete keys. "
        "`0660` is for an Envoy of another user in the same group.",
    )
    transport: Annotated[Transport, choice("a transport", "grpcio", "native")] = Field(
        default=DEFAULT_TRANSPORT,
        description="What carries the gRPC streams: `grpcio` is gRPC's own library, `native` an HTTP/2 "
        "server made for this one service.",
    )
    workers: Annotated[int, whole_number(1, 64)] = Field(
        default=1, description="Worker processes. Each has its own endpoint and admin port, counted from 0."
    )
    admin: Annotated[HostPort, _ADDRESS] = Field(
        default=HostPort("127.0.0.1", 9902),
        description="Where health and metrics are served; worker i has the port plus i.",
    )
    tls_section: TlsSection | None = Field(
        default=None,
        alias="tls",
        description="Mutual TLS on host:port. Without it, who reaches the port can claim and complete keys, "
        "and bodies pass in the clear: leave it out only on the loopback, or on a network that is Envoy's "
        "and the sidecar's alone. The files are read when a worker starts.",
    )

    @property
    def tls(self) -> ServerTls | None:
        """The files of mutual TLS; None where there is none."""
        files = self.tls_section
        return None if files is None else ServerTls(files.certificate, files.key, files.client_ca)

    @property
    def admins(self) -> tuple[HostPort, ...]:
        """Where each worker serves health and metrics, by its number."""
        return tuple(self.admin.for_worker(index, self.workers) for index in range(self.workers))

    @field_validator("socket_mode")
    @classmethod
    def _is_of_a_socket(cls, mode: int, info: ValidationInfo) -> int:
        listen: Endpoint | None = info.data.get("listen")
        if listen is not None and not listen.is_unix:
            raise RefusedError(f"there is no socket file at {listen}", "no such field, or unix:/// in listen")
        return mode

    @field_validator("workers")
    @classmethod
    def _have_ports_to_listen_on(cls, workers: int, info: ValidationInfo) -> int:
        listen: Endpoint | None = info.data.get("listen")
        if listen is not None and listen.port + workers - 1 > MAX_PORT:
            raise RefusedError(
                f"{workers} workers need ports above {MAX_PORT}",
                f"1 to {MAX_PORT + 1 - listen.port} with the port that server.listen has ({listen})",
            )
        return workers

    @field_validator("tls_section")
    @classmethod
    def _is_on_a_port(cls, tls: TlsSection | None, info: ValidationInfo) -> TlsSection | None:
        listen: Endpoint | None = info.data.get("listen")
        if tls is not None and listen is not None and listen.is_unix:
            raise RefusedError(
                "TLS is for host:port, and server.listen is a unix socket",
                "null, or host:port in server.listen",
            )
        return tls

    @model_validator(mode="after")
    def _has_admin_ports_of_its_own(self) -> Self:
        if self.admin.port + self.workers - 1 > MAX_PORT:
            raise RefusedError(
                f"{self.workers} workers need ports above {MAX_PORT}",
                f"a port up to {MAX_PORT + 1 - self.workers}",
                at=("admin",),
            )
        if self.listen.host == self.admin.host and abs(self.listen.port - self.admin.port) < self.workers:
            raise RefusedError(
                f"{self.admin} meets server.listen, {self.listen}",
                f"a port at least {self.workers} away from {self.listen.port}",
                at=("admin",),
            )
        return self
