"""grpc.health.v1 on the native transport's streams."""

from grpc_health.v1 import health_pb2
from hyperframe.frame import Frame

from sidecar.extproc.transport.native.health import CHECK, WATCH, Health
from tests.unit.extproc.native.h2_scene import Scene, call_fields, content, data, framed, reset

STATUS = health_pb2.HealthCheckResponse


class HealthScene:
    """A connection to a health service, and its client."""

    def __init__(self) -> None:
        self.health = Health(["", "here"])
        self.scene = Scene(routes={CHECK: self.health.check, WATCH: self.health.watch}).greet()
        self._next = 1

    def call(self, path: bytes, service: str | bytes) -> tuple[int, list[Frame]]:
        """A call with its one message, half-closed behind it."""
        stream_id, self._next = self._next, self._next + 2
        message = (
            service
            if isinstance(service, bytes)
            else health_pb2.HealthCheckRequest(service=service).SerializeToString()
        )
        head = self.scene.headers(stream_id, call_fields(path=path.decode()))
        return stream_id, self.scene.feed(head, data(stream_id, framed(message), end=True))


def told(frames: list[Frame], stream_id: int) -> list[int]:
    """The statuses in the messages of a stream."""
    held, statuses = content(frames, stream_id), []
    while held:
        size = 5 + int.from_bytes(held[1:5], "big")
        statuses.append(STATUS.FromString(held[5:size]).status)
        held = held[size:]
    return statuses


def test_check_says_not_serving_until_told_otherwise() -> None:
    scene = HealthScene()

    for service in ("", "here"):
        scene.health.set_serving(False)
        stream_id, sent = scene.call(CHECK, service)
        assert told(sent, stream_id) == [STATUS.NOT_SERVING]
        scene.health.set_serving(True)
        stream_id, sent = scene.call(CHECK, service)
        assert told(sent, stream_id) == [STATUS.SERVING]
        assert scene.scene.status(sent) == ("0", "")


def test_check_does_not_find_an_unknown_service() -> None:
    scene = HealthScene()

    _, sent = scene.call(CHECK, "elsewhere")

    assert scene.scene.status(sent) == ("5", "unknown service")


def test_watch_tells_the_status_and_each_change_of_it() -> None:
    scene = HealthScene()
    stream_id, sent = scene.call(WATCH, "here")
    assert told(sent, stream_id) == [STATUS.NOT_SERVING]

    scene.health.set_serving(True)
    scene.health.set_serving(True)
    scene.health.set_serving(False)

    assert told(scene.scene.taken(), stream_id) == [STATUS.SERVING, STATUS.NOT_SERVING]


def test_watch_of_an_unknown_service_says_so_and_goes_on() -> None:
    scene = HealthScene()

    stream_id, sent = scene.call(WATCH, "elsewhere")
    scene.health.set_serving(True)

    assert told(sent, stream_id) == [STATUS.SERVICE_UNKNOWN]
    assert scene.scene.taken() == []


def test_a_watch_that_was_reset_is_forgotten() -> None:
    scene = HealthScene()
    stream_id, _ = scene.call(WATCH, "")
    scene.scene.feed(reset(stream_id))

    scene.health.set_serving(True)

    assert scene.scene.taken() == []


def test_watches_end_when_the_server_does() -> None:
    scene = HealthScene()
    scene.call(WATCH, "")

    scene.health.end_watches()

    assert scene.scene.status(scene.scene.taken()) == ("14", "the server is stopping")


def test_what_is_no_request_is_an_error_and_the_connection_goes_on() -> None:
    scene = HealthScene()

    for path in (CHECK, WATCH):
        _, sent = scene.call(path, b"\xff\xff")
        assert scene.scene.status(sent) == ("13", "not one HealthCheckRequest")


def test_a_call_without_its_request_is_an_error() -> None:
    scene = HealthScene()

    for stream_id, path in ((1, CHECK), (3, WATCH)):
        sent = scene.scene.feed(scene.scene.headers(stream_id, call_fields(path=path.decode()), end=True))
        assert scene.scene.status(sent) == ("13", "a call without its request")


def test_a_second_request_on_a_watch_is_an_error() -> None:
    scene = HealthScene()
    head = scene.scene.headers(1, call_fields(path=WATCH.decode()))

    sent = scene.scene.feed(head, data(1, framed(b"") + framed(b"")))

    assert scene.scene.status(sent)[0] == "13"
