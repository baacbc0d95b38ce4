"""The three Envoys that are compared differ in their filter and in nothing else."""

from pathlib import Path
from typing import Any

import yaml

from bench import envoy
from sidecar.config.loading import load
from sidecar.supervision.ports import Address

LISTEN = Address("127.0.0.1", 18080)


def guarded() -> dict[str, Any]:
    return envoy.guarded(load(None, {}), ("unix:/tmp/ext_proc.sock",), LISTEN, "http://127.0.0.1:3000")


def manager(bootstrap: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    typed: dict[str, Any] = found["typed_config"]
    return typed


def filters(bootstrap: dict[str, Any]) -> list[str]:
    return [entry["name"] for entry in manager(bootstrap)["http_filters"]]


def clusters(bootstrap: dict[str, Any]) -> list[str]:
    return [cluster["name"] for cluster in bootstrap["static_resources"]["clusters"]]


def test_the_guarded_one_is_what_up_renders() -> None:
    assert filters(guarded()) == ["idempotency", "envoy.filters.http.router"]
    assert clusters(guarded()) == ["idempotency_sidecar", "upstream"]


def test_the_one_alone_lacks_the_filter_and_its_cluster_and_nothing_else() -> None:
    alone = envoy.alone(guarded())

    assert filters(alone) == ["envoy.filters.http.router"]
    assert clusters(alone) == ["upstream"]
    theirs, ours = manager(alone), manager(guarded())
    assert {name: theirs[name] for name in theirs if name != "http_filters"} == {
        name: ours[name] for name in ours if name != "http_filters"
    }


def test_the_one_with_a_processor_buffers_both_bodies_and_shows_both_heads() -> None:
    processed = envoy.processed(guarded())

    assert filters(processed) == ["envoy.filters.http.ext_proc", "envoy.filters.http.router"]
    mode = manager(processed)["http_filters"][0]["typed_config"]["processing_mode"]
    assert (mode["request_body_mode"], mode["response_body_mode"]) == ("BUFFERED", "BUFFERED")
    assert (mode["request_header_mode"], mode["response_header_mode"]) == ("SEND", "SEND")


def test_making_one_from_the_other_leaves_the_other_as_it_was() -> None:
    bootstrap = guarded()

    envoy.alone(bootstrap)
    envoy.processed(bootstrap)

    assert bootstrap == guarded()


def test_it_runs_with_one_thread_and_an_admin_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "envoy-1.yaml"

    spec = envoy.spec(Path("/opt/envoy"), guarded(), file, LISTEN)

    assert spec.argv[spec.argv.index("--concurrency") + 1] == "1"
    assert spec.before_stop is None
    admin = yaml.safe_load(file.read_text())["admin"]["address"]["pipe"]["path"]
    assert admin == str(envoy.admin_of(file)) == str(tmp_path / "envoy-1.admin")
