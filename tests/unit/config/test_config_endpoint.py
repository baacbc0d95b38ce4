import pytest

from sidecar.config.endpoint import Endpoint, HostPort
from sidecar.config.errors import RefusedError


def test_a_unix_socket_is_what_grpc_calls_it() -> None:
    endpoint = Endpoint.parse("unix:///run/idempotency/ext_proc.sock")

    assert endpoint.is_unix
    assert endpoint.path == "/run/idempotency/ext_proc.sock"
    assert endpoint.address == "unix:/run/idempotency/ext_proc.sock"


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:9902", "127.0.0.1", 9902),
        ("[::1]:80", "::1", 80),
        ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
        ("pod-0.svc:65535", "pod-0.svc", 65_535),
    ],
)
def test_host_and_port_are_taken_apart_and_put_together_again(text: str, host: str, port: int) -> None:
    endpoint, address = Endpoint.parse(text), HostPort.parse(text)

    assert not endpoint.is_unix
    assert (endpoint.host, endpoint.port) == (address.host, address.port) == (host, port)
    assert endpoint.address == address.address == text


@pytest.mark.parametrize("text", ["unix:///run/a.sock", "127.0.0.1:9902", "[::1]:80"])
def test_an_endpoint_is_written_as_it_was_read(text: str) -> None:
    assert str(Endpoint.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "reached"),
    [
        ("0.0.0.0:9902", "127.0.0.1:9902"),
        ("[::]:9902", "[::1]:9902"),
        ("127.0.0.1:9902", "127.0.0.1:9902"),
        ("sidecar:9902", "sidecar:9902"),
    ],
)
def test_an_address_that_stands_for_all_is_reached_by_the_loopback(text: str, reached: str) -> None:
    assert Endpoint.parse(text).reachable.address == HostPort.parse(text).reachable.address == reached


def test_a_unix_socket_is_reached_where_it_is() -> None:
    endpoint = Endpoint.parse("unix:///run/a.sock")

    assert endpoint.reachable == endpoint


def test_a_single_worker_has_the_endpoint_as_it_is_written() -> None:
    for text in ("unix:///run/a.sock", "127.0.0.1:9902"):
        assert Endpoint.parse(text).for_worker(0, 1) == Endpoint.parse(text)
    assert HostPort("localhost", 9902).for_worker(0, 1) == HostPort("localhost", 9902)


def test_each_of_several_workers_has_an_endpoint_of_its_own() -> None:
    socket, tcp, admin = (
        Endpoint.parse("unix:///run/a.sock"),
        Endpoint.parse("[::1]:80"),
        HostPort("localhost", 9902),
    )

    assert [socket.for_worker(i, 3).address for i in range(3)] == [
        "unix:/run/a.sock.0",
        "unix:/run/a.sock.1",
        "unix:/run/a.sock.2",
    ]
    assert [tcp.for_worker(i, 3).address for i in range(3)] == ["[::1]:80", "[::1]:81", "[::1]:82"]
    assert [str(admin.for_worker(i, 3)) for i in range(3)] == [
        "localhost:9902",
        "localhost:9903",
        "localhost:9904",
    ]


@pytest.mark.parametrize("index", [-1, 2])
def test_a_worker_that_is_none_of_them_has_no_endpoint(index: int) -> None:
    for address in (Endpoint.parse("unix:///a"), HostPort("localhost", 1)):
        with pytest.raises(ValueError, match=r"there is no worker .* of 2; allowed: 0 to 1"):
            address.for_worker(index, 2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unix:",
        "unix:/run/a.sock",
        "unix://run/a.sock",
        "unix:///",
        "unix:///run/",
        "unix:///a\nb",
        "unix:///" + "ü" * 50 + "a",
    ],
)
def test_a_socket_needs_an_absolute_path_that_the_kernel_takes(text: str) -> None:
    with pytest.raises(RefusedError) as caught:
        Endpoint.parse(text)
    assert caught.value.allowed.startswith("unix:///absolute/path of at most 100 bytes, or host:port")


@pytest.mark.parametrize(
    "text",
    ["", "host", ":80", "host:", "::1:80", "[::1]", "host:0", "host:65536", "host:٣", "ho st:80", "host:80/"],
)
def test_an_address_needs_a_host_and_a_port_that_exist(text: str) -> None:
    for parse in (HostPort.parse, Endpoint.parse):
        with pytest.raises(RefusedError, match="is not an address"):
            parse(text)
