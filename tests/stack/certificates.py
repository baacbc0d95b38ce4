"""Certificates for tests, made by `openssl`: an authority, and what it signs."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from sidecar.config.tls import ServerTls

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True)
class Signed:
    """A certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority of its own, in a directory."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        if shutil.which("openssl") is None:
            pytest.skip("there is no openssl to make certificates with")
        self._directory = directory
        self._own = Signed(directory / f"{name}.pem", directory / f"{name}.key")
        _openssl("req", "-x509", *_NEW_KEY, "-subj", f"/CN={name}", *_into(self._own))

    @property
    def certificate(self) -> Path:
        """What those who trust it are given."""
        return self._own.certificate

    def sign(self, name: str, *, names: str = "DNS:localhost", days: int = 2) -> Signed:
        """A certificate for `names`, OpenSSL's subjectAltName; with `days` below 0, one that has expired."""
        signed = Signed(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        request = self._directory / f"{name}.csr"
        extensions = ("-addext", f"subjectAltName={names}", "-addext", "basicConstraints=critical,CA:FALSE")
        subject = ("-subj", f"/CN={name}", "-keyout", str(signed.key), "-out", str(request))
        _openssl("req", "-new", *_NEW_KEY, *extensions, *subject)
        authority = ("-CA", str(self._own.certificate), "-CAkey", str(self._own.key), "-CAcreateserial")
        _openssl(
            *("x509", "-req", "-in", str(request), "-out", str(signed.certificate), "-days", str(days)),
            *("-copy_extensions", "copy", *authority),
        )
        return signed

    def server_tls(self, server: Signed) -> ServerTls:
        """The files of a server with this certificate that takes clients of this authority."""
        return ServerTls(server.certificate, server.key, self.certificate)


def _into(signed: Signed) -> tuple[str, ...]:
    return "-keyout", str(signed.key), "-out", str(signed.certificate)


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
