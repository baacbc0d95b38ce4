"""A small HTTP/2 client that shows trailers, which httpx does not; cleartext with prior knowledge."""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import httpx

Fields = list[tuple[str, str]]
TIMEOUT_S = 10


@dataclass
class Response:
    """One response, as it came; `reset` where its stream was reset before it ended."""

    headers: Fields = field(default_factory=list)
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    reset: bool = False

    def header(self, name: str) -> list[str]:
        return [value for field_name, value in self.headers if field_name == name]


def post(url: str, headers: Fields, body: bytes = b"", trailers: Fields | None = None) -> Response:
    """Send one POST on a connection of its own and read its response to the end."""
    target = httpx.URL(url)
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    with socket.create_connection((target.host, target.port or 80), timeout=TIMEOUT_S) as peer:
        connection.initiate_connection()
        stream = connection.get_next_available_stream_id()
        connection.send_headers(stream, [*_pseudo(target), *headers])
        connection.send_data(stream, body, end_stream=not trailers)
        if trailers:
            connection.send_headers(stream, trailers, end_stream=True)
        return _read(peer, connection)


def leave_before_the_end(url: str, headers: Fields, body: bytes, *, stay: Callable[[], None]) -> None:
    """Send a POST with its announced length and every byte of it, but not its end; `stay`, then go away."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    target = httpx.URL(url)
    with socket.create_connection((target.host, target.port or 80), timeout=TIMEOUT_S) as peer:
        connection.initiate_connection()
        stream = connection.get_next_available_stream_id()
        length = ("content-length", str(len(body)))
        connection.send_headers(stream, [*_pseudo(target), *headers, length])
        connection.send_data(stream, body)
        peer.sendall(connection.data_to_send())
        stay()


def _pseudo(target: httpx.URL) -> Fields:
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", target.netloc.decode()),
        (":path", target.raw_path.decode()),
    ]


def _read(peer: socket.socket, connection: h2.connection.H2Connection) -> Response:
    response = Response()
    while True:
        peer.sendall(connection.data_to_send())
        data = peer.recv(65536)
        assert data, "the connection was closed before the response ended"
        for event in connection.receive_data(data):
            match event:
                case h2.events.ResponseReceived():
                    response.headers = [(str(name), str(value)) for name, value in event.headers or ()]
                case h2.events.DataReceived():
                    response.body += event.data or b""
                    connection.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
                case h2.events.TrailersReceived():
                    response.trailers = [(str(name), str(value)) for name, value in event.headers or ()]
                case h2.events.StreamReset():
                    response.reset = True
                    return response
                case h2.events.StreamEnded():
                    return response
