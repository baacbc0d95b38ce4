"""Mutual TLS between a real Envoy and the sidecar's workers, on either transport."""

import contextlib
import socket
import ssl
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from tests.e2e.fleet import Fleet, running_fleet
from tests.stack.certificates import Authority, Signed
from tests.stack.ports import ports_in_a_row
from tests.stack.upstream import Upstream, running_upstream
from tests.stack.valkey import Server

NAME = "sidecar.example"
TRANSPORTS = ("grpcio", "native")


@dataclass(frozen=True)
class Certified:
    """The certificates of both sides, and the service behind."""

    authority: Authority
    server: Signed
    envoy: Signed
    upstream: Upstream
    store: str

    def fleet(
        self, transport: str, name: str = NAME, *, shown: Signed | None = None, works: bool = True
    ) -> contextlib.AbstractContextManager[Fleet]:
        """Two workers with TLS, and an Envoy that wants them to be `name` and shows `shown`, else its own."""
        shown = shown or self.envoy
        ports = ports_in_a_row(2)
        files = self.authority.server_tls(self.server)
        tls = {
            "certificate": str(files.certificate),
            "key": str(files.key),
            "client_ca": str(files.client_ca),
        }
        section = {"listen": str(ports), "workers": 2, "transport": transport, "tls": tls}
        options = (
            *("--sidecar-ca", str(self.authority.certificate), "--sidecar-name", name),
            *("--sidecar-cert", str(shown.certificate), "--sidecar-key", str(shown.key)),
        )
        return running_fleet(self.upstream, self.store, *options, server=section, wait_for_envoy=works)


@pytest.fixture(scope="module")
def certified(valkey: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Certified]:
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    server = authority.sign("server", names=f"DNS:{NAME},URI:spiffe://example.org/sidecar,IP:127.0.0.1")
    with running_upstream() as upstream:
        envoy = authority.sign("envoy", names="DNS:envoy.example")
        yield Certified(authority, server, envoy, upstream, valkey.url)


@pytest.fixture(scope="module", params=TRANSPORTS)
def fleet(request: pytest.FixtureRequest, certified: Certified) -> Iterator[Fleet]:
    with certified.fleet(request.param) as fleet:
        yield fleet


def post(fleet: Fleet, target: str) -> httpx.Response:
    return httpx.post(f"{fleet.url}{target}", content=b"x", headers={"idempotency-key": f'"{target[1:]}"'})


def test_a_request_executes_once_and_is_replayed_over_tls(certified: Certified, fleet: Fleet) -> None:
    targets = [f"/{uuid.uuid4().hex}" for _ in range(20)]
    first = [post(fleet, target) for target in targets]
    again = [post(fleet, target) for target in targets]
    executed = fleet.metric("idempotency_requests_total", result="executed")

    assert {answer.status_code for answer in first + again} == {201}
    assert {answer.headers.get("idempotent-replayed") for answer in again} == {"true"}
    assert [certified.upstream.times(target) for target in targets] == [1] * len(targets)
    assert min(executed.values()) > 0, "health checks pass over TLS too, so both workers have their share"
    assert set(executed) == {"0", "1"}


@pytest.mark.parametrize("name", ["127.0.0.1", "spiffe://example.org/sidecar"])
def test_the_sidecar_may_be_known_by_its_address_or_by_a_uri(certified: Certified, name: str) -> None:
    with certified.fleet("native", name) as fleet:
        assert post(fleet, "/known").status_code == 201


def test_a_sidecar_of_another_name_is_sent_nothing_and_keyed_requests_are_refused(
    certified: Certified,
) -> None:
    with certified.fleet("native", "somebody.else", works=False) as fleet:
        assert post(fleet, "/refused").status_code == 503
    assert certified.upstream.times("/refused") == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_envoy_of_another_authority_is_refused(
    certified: Certified, tmp_path: Path, transport: str
) -> None:
    stranger = Authority(tmp_path, "elsewhere").sign("stranger")
    with certified.fleet(transport, shown=stranger, works=False) as fleet:
        assert post(fleet, "/refused").status_code == 503
    assert certified.upstream.times("/refused") == 0


def test_who_shows_no_certificate_or_speaks_in_the_clear_gets_no_answer(
    certified: Certified, fleet: Fleet
) -> None:
    context = ssl.create_default_context(cafile=certified.authority.certificate)
    context.set_alpn_protocols(["h2"])

    assert answer_of(fleet, context) == b""
    assert SETTINGS_TAKEN not in answer_of(fleet, None), "a TLS alert at most"
    assert post(fleet, f"/{uuid.uuid4().hex}").status_code == 201, "the others are not bothered"


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
SETTINGS_TAKEN = b"\x00\x00\x00\x04\x01\x00\x00\x00\x00"


def answer_of(fleet: Fleet, tls: ssl.SSLContext | None) -> bytes:
    """What the first worker says to an HTTP/2 client; with TLS 1.3 a refusal comes after the handshake."""
    received = b""
    server = yaml.safe_load(fleet.config.read_text())["server"]
    host, _, port = server["listen"].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as raw, contextlib.suppress(OSError):
        connection = raw if tls is None else tls.wrap_socket(raw, server_hostname=NAME)
        connection.sendall(PREFACE + SETTINGS)
        while piece := connection.recv(4096):
            received += piece
    return received
