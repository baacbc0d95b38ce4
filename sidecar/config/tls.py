"""The files of mutual TLS: what each has to hold, found out when the configuration is loaded.

A certificate that nobody accepts, or a key of another one, would otherwise show only when Envoy connects:
as one more connection that ends, and every keyed request refused.
"""

import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sidecar.config.errors import RefusedError, quoted
from sidecar.config.fragments import string
from sidecar.config.kinds import Kind

_PRIVATE_KEY = b"PRIVATE KEY-----"
_MAX_KEY_FILE = 1 << 20
_LONGEST_PATH = 200
"""Characters of a path that a message shows."""


@dataclass(frozen=True, slots=True)
class ServerTls:
    """The PEM files of a server that only takes clients whose certificate it can verify.

    Attributes:
        certificate: The server's certificate, and the intermediate ones after it.
        key: Its private key, without a password.
        client_ca: The authorities that sign the certificates of clients.
    """

    certificate: Path
    key: Path
    client_ca: Path


def server_context(tls: ServerTls) -> ssl.SSLContext:
    """TLS 1.2 or newer, a client certificate required, HTTP/2 by ALPN (RFC 9113 §3.2).

    Raises:
        OSError: A file cannot be used any more; `ssl.SSLError` is one.
    """
    context = _presenting(tls.certificate, tls.key)
    context.load_verify_locations(tls.client_ca)
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    return context


def certificate_file(holding: str) -> Kind[Path]:
    """The kind of a field that names a file of one or more certificates; `holding` says of which."""
    return _pem_file(f"a PEM file with {holding}", "holds no certificate", _holds_certificate)


def key_file() -> Kind[Path]:
    """The kind of a field that names the file of a private key."""
    return _pem_file("a PEM file with a private key", "holds no private key", _holds_key)


def check_pair(certificate: Path, key: Path) -> None:
    """See that the key is the certificate's, and that a client would take the certificate today.

    Raises:
        RefusedError: It is not; `at` names the field.
    """
    try:
        context = _presenting(certificate, key)
    except OSError:
        raise RefusedError(
            f"{_shown(key)} is not the key of the certificate",
            "the private key that the certificate was made for, without a password",
            at=("key",),
        ) from None
    try:
        _rehearse(context, trusted=certificate)
    except ssl.SSLCertVerificationError as error:
        raise RefusedError(
            f"{_shown(certificate)} cannot be used: {error.verify_message}",
            "a server's certificate that is valid now",
            at=("certificate",),
        ) from None


def _shown(path: object) -> str:
    return quoted(path, _LONGEST_PATH)


def _presenting(certificate: Path, key: Path) -> ssl.SSLContext:
    """A server's context. An empty password: OpenSSL would ask the terminal for one, and wait."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key, password="")
    return context


def _rehearse(context: ssl.SSLContext, *, trusted: Path) -> None:
    """A handshake in memory with a client that trusts this very certificate: only its own faults count.

    The standard library reads no dates from a certificate by itself, and verifying it is what clients do.
    """
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client_context.load_verify_locations(trusted)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()


def _pem_file(form: str, lacking: str, holds: Callable[[Path], bool]) -> Kind[Path]:
    def parse(text: str) -> Path:
        path = Path(text)
        if not path.is_absolute() or not text.isprintable():
            raise RefusedError(f"{_shown(text)} is not an absolute path")
        try:
            found = holds(path)
        except OSError as error:
            raise RefusedError(f"{_shown(text)} cannot be read: {error.strerror}") from None
        if not found:
            raise RefusedError(f"{_shown(text)} {lacking}")
        return path

    return Kind("a path", f"the absolute path of {form}", parse, type="file", fragment=string("/.+"))


def _holds_certificate(path: Path) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(_readable(path))
    except ssl.SSLError:
        return False
    return True


def _holds_key(path: Path) -> bool:
    with _readable(path).open("rb") as file:
        return _PRIVATE_KEY in file.read(_MAX_KEY_FILE)


def _readable(path: Path) -> Path:
    """The path, if it is that of a file this process may read.

    Raises:
        OSError: It is not.
    """
    if not path.exists() or path.is_file():
        path.open("rb").close()
        return path
    raise OSError(0, "it is not a file")
