import ssl

import pytest
from redis.asyncio.connection import Connection, SSLConnection

from sidecar.store.memory import MemoryStore
from sidecar.store.opening import open_store
from sidecar.store.redis.address import Address
from sidecar.store.redis.store import RedisStore


@pytest.mark.parametrize("url", ["memory:", "memory://"])
def test_memory_is_opened(url: str) -> None:
    assert isinstance(open_store(url, prefix="idem", timeout_ms=250), MemoryStore)


async def test_every_memory_store_is_its_own() -> None:
    first, second = (open_store("memory:", prefix="idem", timeout_ms=250) for _ in range(2))
    assert first is not second


@pytest.mark.parametrize(
    "url",
    ["redis://127.0.0.1:6379/0", "rediss://store.example", "REDIS://store.example", "redis://[::1]:6379/2"],
)
def test_redis_is_opened_without_connecting(url: str) -> None:
    assert isinstance(open_store(url, prefix="idem", timeout_ms=250), RedisStore)


@pytest.mark.parametrize(
    "url", ["", "memory", "memory:x", "postgresql://u:secret@h/d", "unix:///run/redis", "::"]
)
def test_anything_else_is_refused_and_what_is_allowed_is_said(url: str) -> None:
    with pytest.raises(ValueError, match=r"`memory:`, `redis://.*` or `rediss://.*`") as refused:
        open_store(url, prefix="idem", timeout_ms=250)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://", "localhost:6379/0"),
        ("redis://store.example", "store.example:6379/0"),
        ("redis://store.example?", "store.example:6379/0"),
        ("redis://user:secret@store.example:7000/3", "store.example:7000/3"),
        ("rediss://:secret@store.example/", "store.example:6379/0"),
    ],
)
def test_a_place_shows_no_credentials(url: str, place: str) -> None:
    address = Address.parse(url)
    assert address.place == place
    assert "secret" not in repr(address)


def test_credentials_are_read_with_their_escapes() -> None:
    connection = Address.parse("redis://us%3Aer:p%40ss%2Fw%23rd@store.example:7000/3").connection()
    assert isinstance(connection, Connection)
    assert (connection.username, connection.password) == ("us:er", "p@ss/w#rd")
    assert (connection.host, connection.port, connection.db) == ("store.example", 7000, 3)


def test_a_connection_waits_and_repeats_nothing_by_itself() -> None:
    connection = Address.parse("redis://store.example").connection()
    assert connection.socket_timeout is None
    assert connection.socket_connect_timeout is None
    assert connection.retry.get_retries() == 0


def test_tls_checks_the_certificate_and_the_name_unless_told_otherwise() -> None:
    connection = Address.parse("rediss://store.example").connection()
    assert isinstance(connection, SSLConnection)
    assert connection.cert_reqs == ssl.CERT_REQUIRED
    assert connection.check_hostname is True


def test_tls_options_are_taken_from_the_query() -> None:
    connection = Address.parse(
        "rediss://store.example?ssl_ca_certs=/etc/ca.pem&ssl_check_hostname=false&ssl_cert_reqs=none"
    ).connection()
    assert isinstance(connection, SSLConnection)
    assert connection.ca_certs == "/etc/ca.pem"
    assert connection.cert_reqs == ssl.CERT_NONE
    assert connection.check_hostname is False


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://user:se/cret@store.example", "written %2F"),
        ("redis://user:se#cret@store.example", "written %23"),
        ("redis://store.example:port", "numbers for port and db"),
        ("redis://store.example:70000", "numbers for port and db"),
        ("redis://store.example/first", "numbers for port and db"),
        ("redis://store.example/-1", "numbers for port and db"),
        ("redis://store.example?junk", "numbers for port and db"),
        ("redis://store.example?decode_responses=true", "unknown option 'decode_responses'"),
        ("redis://store.example?ssl_ca_certs=/ca.pem", "need rediss://"),
        ("rediss://store.example?timeout=3", "ssl_ca_certs, ssl_certfile"),
        ("rediss://store.example?ssl_cert_reqs=perhaps", "ssl_cert_reqs is `required`"),
    ],
)
def test_a_url_that_means_nothing_is_refused_at_once(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        open_store(url, prefix="idem", timeout_ms=250)
    assert "cret" not in str(refused.value)
