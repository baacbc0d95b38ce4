"""`server.tls`: the files are looked at when the configuration is loaded, and make the promised context."""

import contextlib
import re
import ssl
import subprocess
from pathlib import Path

import pytest

from sidecar.config.errors import ConfigError
from sidecar.config.loading import load
from sidecar.config.tls import ServerTls, server_context
from tests.stack.certificates import Authority, Signed


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def environ(certificate: Path, key: Path, client_ca: Path) -> dict[str, str]:
    given = {"CERTIFICATE": certificate, "KEY": key, "CLIENT_CA": client_ca}
    return {
        "IDEMPOTENCY__SERVER__LISTEN": "127.0.0.1:9000",
        **{f"IDEMPOTENCY__SERVER__TLS__{name}": str(path) for name, path in given.items()},
    }


def the_problem(variables: dict[str, str]) -> tuple[str, str]:
    """The field, and what is said about it."""
    with pytest.raises(ConfigError) as caught:
        load(None, variables)
    (problem,) = caught.value.problems
    assert problem.allowed
    return problem.field, problem.message


def test_without_tls_there_is_none() -> None:
    assert load(None, {}).server.tls is None


def test_three_files_that_belong_together_are_what_the_server_is_given(authority: Authority) -> None:
    server = authority.sign("server")

    settings = load(None, environ(server.certificate, server.key, authority.certificate))

    assert settings.server.tls == ServerTls(server.certificate, server.key, authority.certificate)


def test_a_chain_with_intermediate_certificates_is_taken(authority: Authority) -> None:
    server = authority.sign("server")
    chain = server.certificate.with_name("chain.pem")
    chain.write_bytes(server.certificate.read_bytes() + authority.certificate.read_bytes())

    assert load(None, environ(chain, server.key, authority.certificate)).server.tls is not None


def test_a_key_of_another_certificate_is_refused(authority: Authority) -> None:
    server, other = authority.sign("server"), authority.sign("other")

    field, message = the_problem(environ(server.certificate, other.key, authority.certificate))

    assert (field, message) == ("server.tls.key", f'"{other.key}" is not the key of the certificate')


def test_a_key_with_a_password_is_refused_without_asking_the_terminal_for_it(authority: Authority) -> None:
    server = authority.sign("server")
    locked = server.key.with_name("locked.key")
    command = [
        "openssl",
        "ec",
        "-aes256",
        "-passout",
        "pass:geheim",
        "-in",
        str(server.key),
        "-out",
        str(locked),
    ]
    subprocess.run(command, check=True, capture_output=True)

    field, _ = the_problem(environ(server.certificate, locked, authority.certificate))

    assert field == "server.tls.key"


def test_a_certificate_that_has_expired_is_refused(authority: Authority) -> None:
    old = authority.sign("old", days=-1)

    field, message = the_problem(environ(old.certificate, old.key, authority.certificate))

    assert field == "server.tls.certificate"
    assert message.endswith("cannot be used: certificate has expired")


def test_a_problem_of_the_pair_has_the_line_of_its_field(authority: Authority, tmp_path: Path) -> None:
    server, other = authority.sign("server"), authority.sign("other")
    file = tmp_path / "sidecar.yaml"
    file.write_text(
        "server:\n  listen: 127.0.0.1:9000\n  tls:\n"
        f"    certificate: {server.certificate}\n"
        f"    key: {other.key}\n    client_ca: {authority.certificate}\n"
    )

    with pytest.raises(ConfigError, match=rf"^{re.escape(str(file))}:5: server\.tls\.key: "):
        load(file, {})


def test_tls_is_refused_on_a_unix_socket(authority: Authority) -> None:
    server = authority.sign("server")
    variables = environ(server.certificate, server.key, authority.certificate)

    field, message = the_problem({**variables, "IDEMPOTENCY__SERVER__LISTEN": "unix:///run/a.sock"})

    assert (field, message) == ("server.tls", "TLS is for host:port, and server.listen is a unix socket")


@pytest.mark.parametrize("null", ["", "null"])
def test_the_environment_can_turn_it_off(tmp_path: Path, null: str) -> None:
    file = tmp_path / "sidecar.yaml"
    file.write_text(
        "server: {listen: '127.0.0.1:9000', tls: {certificate: /nowhere, key: /n, client_ca: /n}}\n"
    )

    assert load(file, {"IDEMPOTENCY__SERVER__TLS": null}).server.tls is None


@pytest.mark.parametrize("transport", ["grpcio", "native"])
def test_either_transport_takes_it(authority: Authority, transport: str) -> None:
    server = authority.sign("server")
    variables = environ(server.certificate, server.key, authority.certificate)

    settings = load(None, {**variables, "IDEMPOTENCY__SERVER__TRANSPORT": transport})

    assert settings.server.transport == transport
    assert settings.server.tls is not None


def client_context(authority: Authority, own: Signed | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.certificate)
    context.set_alpn_protocols(["h2"])
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    return context


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLObject:
    """Both sides of a handshake in memory; the server's, once it is done."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    there = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    here = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (there, here, there, here):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return here


def test_a_client_of_the_authority_speaks_http2_to_the_server(authority: Authority) -> None:
    server, client = authority.sign("server"), authority.sign("client")

    context = server_context(authority.server_tls(server))

    here = shake_hands(context, client_context(authority, client))
    assert here.selected_alpn_protocol() == "h2"
    assert dict(here.getpeercert()["subject"][0])["commonName"] == "client"  # type: ignore[index,arg-type] # as documented


def test_a_client_without_a_certificate_is_refused(authority: Authority) -> None:
    context = server_context(authority.server_tls(authority.sign("server")))

    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        shake_hands(context, client_context(authority, None))


def test_a_client_of_another_authority_is_refused(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "elsewhere").sign("stranger")
    context = server_context(authority.server_tls(authority.sign("server")))

    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(context, client_context(authority, stranger))


def test_nothing_older_than_tls_1_2_is_spoken(authority: Authority) -> None:
    context = server_context(authority.server_tls(authority.sign("server")))

    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_a_file_that_went_after_the_configuration_was_loaded_is_an_os_error(authority: Authority) -> None:
    tls = authority.server_tls(authority.sign("server"))
    tls.key.unlink()

    with pytest.raises(OSError, match="No such file"):
        server_context(tls)
