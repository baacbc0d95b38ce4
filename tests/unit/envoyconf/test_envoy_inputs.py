import pytest

from sidecar.envoyconf.addresses import TcpAddress
from sidecar.envoyconf.inputs import EnvoyInputs, Scheme, Upstream
from sidecar.idempotency.policy import Policies

NONE = Policies(())


@pytest.mark.parametrize(
    ("url", "scheme", "address"),
    [
        ("http://127.0.0.1:3000", Scheme.HTTP, TcpAddress("127.0.0.1", 3000)),
        ("http://shop.example/", Scheme.HTTP, TcpAddress("shop.example", 80)),
        ("https://shop.example", Scheme.HTTPS, TcpAddress("shop.example", 443)),
        ("https://[::1]", Scheme.HTTPS, TcpAddress("::1", 443)),
        ("https://[2001:db8::1]:8443", Scheme.HTTPS, TcpAddress("2001:db8::1", 8443)),
        ("h2c://localhost:50051", Scheme.H2C, TcpAddress("localhost", 50051)),
    ],
)
def test_an_upstream_is_read_from_its_url(url: str, scheme: Scheme, address: TcpAddress) -> None:
    assert Upstream.parse(url) == Upstream(scheme, address)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:3000",
        "ftp://127.0.0.1:3000",
        "HTTP://127.0.0.1",
        "http://",
        "http://host:",
        "http://host:0",
        "http://::1:80",
        "http://host:3000/api",
        "http://host:3000?x",
        "http://user:pass@host:3000",
        "http://ho st:3000",
    ],
)
def test_any_other_url_is_refused_with_the_forms_that_are_allowed(url: str) -> None:
    with pytest.raises(
        ValueError, match=r"allowed: http://HOST:PORT, https://HOST\[:PORT\] or h2c://HOST:PORT"
    ):
        Upstream.parse(url)


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("https://shop.example", "shop.example"),
        ("https://shop.example:443", "shop.example"),
        ("https://shop.example:8443", "shop.example:8443"),
        ("https://[::1]", "[::1]"),
        ("http://shop.example:443", "shop.example:443"),
    ],
)
def test_the_authority_leaves_out_the_port_that_the_scheme_implies(url: str, authority: str) -> None:
    assert Upstream.parse(url).authority == authority


def test_there_is_at_least_one_endpoint() -> None:
    with pytest.raises(ValueError, match="allowed: one or more"):
        EnvoyInputs(NONE, ())


def test_sockets_and_ports_are_not_mixed() -> None:
    with pytest.raises(ValueError, match="allowed: all HOST:PORT, or all unix:/path"):
        EnvoyInputs(NONE, ("unix:/a", "127.0.0.1:9000"))


@pytest.mark.parametrize(
    ("field", "value"),
    [("listen", "everywhere"), ("admin_path", "relative.sock"), ("endpoints", ("nowhere",))],
)
def test_a_malformed_address_is_refused_before_anything_is_rendered(field: str, value: object) -> None:
    arguments: dict[str, object] = {"policies": NONE, "endpoints": ("unix:/a",), field: value}

    with pytest.raises(ValueError, match="allowed: "):
        EnvoyInputs(**arguments)  # type: ignore[arg-type] # a wrong value is the point
