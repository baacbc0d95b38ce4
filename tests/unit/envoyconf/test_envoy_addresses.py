import pytest

from sidecar.envoyconf.addresses import (
    TcpAddress,
    UnixAddress,
    parse_endpoint,
    parse_listen,
    parse_tcp,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", TcpAddress("127.0.0.1", 8080)),
        ("sidecar.internal:1", TcpAddress("sidecar.internal", 1)),
        ("[::1]:65535", TcpAddress("::1", 65535)),
    ],
)
def test_a_host_and_a_port_are_read_and_written_back(text: str, address: TcpAddress) -> None:
    assert parse_tcp(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text", ["", "8080", ":8080", "host", "::1:80", "[::x]:80", "[host]:80", "a b:80", "h:1x"]
)
def test_what_is_no_address_is_refused_with_the_forms_that_are(text: str) -> None:
    with pytest.raises(ValueError, match=r"allowed: HOST:PORT or \[IPV6\]:PORT"):
        parse_tcp(text)


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_a_port_out_of_range_is_refused(port: str) -> None:
    with pytest.raises(ValueError, match="allowed: 1 to 65535"):
        parse_tcp(f"127.0.0.1:{port}")


def test_only_a_name_needs_resolving() -> None:
    assert parse_tcp("[::1]:80").is_ip
    assert not parse_tcp("localhost:80").is_ip


def test_envoy_listens_on_an_ip_address() -> None:
    assert parse_listen("0.0.0.0:80") == TcpAddress("0.0.0.0", 80)  # noqa: S104 - nothing is bound
    assert parse_listen("localhost:80") == TcpAddress("127.0.0.1", 80)
    with pytest.raises(ValueError, match="allowed: IP:PORT, such as 127"):
        parse_listen("shop.example:80")


@pytest.mark.parametrize("text", ["unix:/run/a.sock", "unix:///run/a.sock"])
def test_an_endpoint_may_be_a_unix_socket(text: str) -> None:
    assert parse_endpoint(text) == UnixAddress("/run/a.sock")


def test_an_endpoint_may_be_a_host_and_a_port() -> None:
    assert parse_endpoint("sidecar:9000") == TcpAddress("sidecar", 9000)


@pytest.mark.parametrize("text", ["unix:", "unix:run/a.sock", "unix://run/a.sock", "unix:/run/\0"])
def test_a_socket_needs_an_absolute_path(text: str) -> None:
    with pytest.raises(ValueError, match="allowed: HOST:PORT or unix:/absolute/path"):
        parse_endpoint(text)


def test_a_path_that_the_kernel_could_not_bind_is_refused() -> None:
    longest = "/" + "é" * 53
    assert parse_endpoint(f"unix:{longest}") == UnixAddress(longest)
    with pytest.raises(ValueError, match="at most 107 bytes"):
        parse_endpoint(f"unix:{longest}x")
