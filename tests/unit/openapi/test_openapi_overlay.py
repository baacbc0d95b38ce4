"""The Overlay: what it adds, that it changes nothing, and that the result is a valid description."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from openapi_spec_validator import validate

from sidecar.config.loading import load
from sidecar.idempotency.claim import UnknownPolicy
from sidecar.idempotency.patterns import PathPattern
from sidecar.idempotency.policy import (
    BodyMode,
    Execution,
    FingerprintSpec,
    InProgress,
    KeyFormat,
    KeyPlace,
    KeySource,
    Match,
    Policies,
    Policy,
)
from sidecar.openapi.overlay import overlay
from sidecar.openapi.specification import Specification
from tests.unit.openapi.overlay_application import apply

SHOP = """
openapi: 3.1.0
info: {title: Shop, version: "7"}
servers: [{url: https://api.shop.example/v1}]
paths:
  /orders:
    post:
      responses:
        201: {description: created}
        "409": {description: sold out}
    get:
      responses: {"200": {description: all}}
  /orders/{id}/it's:
    parameters:
    - {name: id, in: path, required: true, schema: {type: string}}
    patch:
      parameters:
      - {name: dry, in: query, schema: {type: boolean}}
      responses: {default: {description: what it is}}
"""
WRITES = frozenset({"POST", "PATCH"})
ORDERS = Policy("orders", match=Match(WRITES, paths=(PathPattern("/v1/orders/**"),)))


def read(text: str = SHOP) -> Specification:
    return Specification("shop.yaml", text, yaml.safe_load(text))


def added(*policies: Policy, to: str = SHOP) -> Any:
    """What the description becomes: valid, and with everything that it had."""
    found = overlay(read(to), Policies(policies))
    assert found is not None
    before = with_text_keys(yaml.safe_load(to))
    after = apply(found, before)
    validate(after)
    assert_contains(after, before)
    return after


def with_text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): with_text_keys(each) for name, each in value.items()}
    return [with_text_keys(each) for each in value] if isinstance(value, list) else value


def assert_contains(after: Any, before: Any) -> None:
    if isinstance(before, dict):
        for name, value in before.items():
            assert_contains(after[name], value)
    elif isinstance(before, list):
        for new, old in zip(after[: len(before)], before, strict=True):
            assert_contains(new, old)
    else:
        assert after == before


def post(description: Any) -> Any:
    return description["paths"]["/orders"]["post"]


def test_an_operation_gets_the_key_and_the_answers() -> None:
    operation = post(added(ORDERS))

    (key,) = operation["parameters"]
    assert (key["name"], key["in"], key["required"]) == ("Idempotency-Key", "header", False)
    assert key["schema"] == {"type": "string", "minLength": 1, "maxLength": 257}
    assert list(operation["responses"]) == ["201", "409", "400", "422", "503"]
    assert "(`key-reused`)" in operation["responses"]["422"]["description"]
    content = operation["responses"]["503"]["content"]
    assert content["application/problem+json"]["schema"] == {
        "$ref": "#/components/schemas/IdempotencyProblem"
    }
    assert "Retry-After" in operation["responses"]["503"]["headers"]


def test_a_description_of_3_0_stays_valid_too() -> None:
    assert "422" in post(added(ORDERS, to=SHOP.replace("3.1.0", "3.0.3")))["responses"]


def test_an_answer_that_is_described_stays_as_it_is() -> None:
    assert post(added(ORDERS))["responses"]["409"] == {"description": "sold out"}


def test_what_no_policy_covers_is_left_out() -> None:
    assert "parameters" not in added(ORDERS)["paths"]["/orders"]["get"]
    assert overlay(read(), Policies((replace(ORDERS, match=Match(frozenset({"PUT"}))),))) is None
    assert overlay(read(), Policies(())) is None


def test_what_is_there_in_a_list_stays_in_front() -> None:
    operation = added(ORDERS)["paths"]["/orders/{id}/it's"]["patch"]

    assert [parameter["name"] for parameter in operation["parameters"]] == ["dry", "Idempotency-Key"]


def test_the_targets_are_json_paths_of_objects_that_are_there() -> None:
    found: Any = overlay(read(), Policies((ORDERS,)))

    assert [action["target"] for action in found["actions"]] == [
        "$",
        "$.paths['/orders'].post",
        "$.paths['/orders'].post.responses",
        r"$.paths['/orders/{id}/it\'s'].patch.parameters",
        r"$.paths['/orders/{id}/it\'s'].patch.responses",
    ]
    assert found["overlay"] == "1.0.0"
    assert found["info"] == {"title": "Idempotency of Shop", "version": "7"}
    assert found["actions"][1]["description"] == "POST /orders: orders."


@pytest.mark.parametrize(
    "written",
    [
        "    post:\n      parameters: [{name: IDEMPOTENCY-KEY, in: header, schema: {type: string}}]\n",
        "    post:\n      parameters: [{$ref: '#/components/parameters/Key'}]\n",
        "    parameters: [{name: Idempotency-key, in: header, schema: {type: string}}]\n    post:\n",
    ],
)
def test_a_key_that_is_described_is_not_described_twice(written: str) -> None:
    components = (
        "components: {parameters: {Key: {name: Idempotency-Key, in: header, schema: {type: string}}}}\n"
    )
    text = SHOP.replace("    post:\n", written) + components

    description = added(ORDERS, to=text)
    assert len(post(description).get("parameters", [])) == text.count("post:\n      parameters")
    assert "422" in post(description)["responses"]


def test_a_key_is_required_where_every_request_needs_just_it() -> None:
    required = replace(ORDERS, key=KeySource(required=True))
    (key,) = post(added(required))["parameters"]
    assert key["required"] is True
    assert "(`key-missing`)" in post(added(required))["responses"]["400"]["description"]

    partly = replace(required, match=replace(ORDERS.match, route="one"))
    assert post(added(partly))["parameters"][0]["required"] is False
    other = replace(ORDERS, name="other", key=KeySource(name="x-key", required=True))
    both = post(added(partly, other))["parameters"]
    assert {key["name"]: key["required"] for key in both} == {"Idempotency-Key": False, "X-Key": False}


def test_a_strict_key_is_at_least_its_quotes() -> None:
    (key,) = post(added(replace(ORDERS, key=KeySource(format=KeyFormat.STRICT, max_length=40))))["parameters"]

    assert key["schema"] == {"type": "string", "minLength": 3, "maxLength": 42}
    assert "in double quotes" in key["description"]


def test_a_key_in_the_query_is_a_parameter_of_it() -> None:
    (key,) = post(added(replace(ORDERS, key=KeySource(place=KeyPlace.QUERY, name="retryKey"))))["parameters"]

    assert (key["name"], key["in"], key["schema"]["maxLength"]) == ("retryKey", "query", 255)


@pytest.mark.parametrize(
    ("place", "statuses"), [(KeyPlace.JSON, {"400", "413", "422", "503"}), (KeyPlace.DERIVED, {"413", "503"})]
)
def test_a_key_of_the_body_adds_answers_alone(place: KeyPlace, statuses: set[str]) -> None:
    operation = post(added(replace(ORDERS, key=KeySource(place=place))))

    assert "parameters" not in operation
    assert set(operation["responses"]) - {"201", "409"} == statuses


@pytest.mark.parametrize(
    ("policy", "status", "kind"),
    [
        (replace(ORDERS, in_progress=InProgress(status=429)), "429", "in-progress"),
        (replace(ORDERS, execution=Execution.DETACHED), "503", "origin-unavailable"),
        (replace(ORDERS, execution=Execution.DETACHED), "413", "body-too-large"),
        (replace(ORDERS, unknown=UnknownPolicy.RETRY), "413", "body-too-large"),
        (replace(ORDERS, fingerprint=FingerprintSpec(body=BodyMode.JSON)), "400", "body-invalid"),
        (replace(ORDERS, fingerprint=FingerprintSpec(body=BodyMode.JSON)), "413", "body-too-large"),
        (replace(ORDERS, fingerprint=FingerprintSpec(body=BodyMode.FORM)), "413", "body-too-large"),
        (replace(ORDERS, tombstone_ms=1), "409", "key-expired"),
    ],
)
def test_the_answers_are_those_that_the_policy_can_give(policy: Policy, status: str, kind: str) -> None:
    text = SHOP.replace('"409": {description: sold out}', "")

    assert f"(`{kind}`)" in post(added(policy, to=text))["responses"][status]["description"]
    assert kind not in str(post(added(ORDERS, to=text))["responses"].get(status))


def test_without_a_store_a_policy_that_bypasses_refuses_nothing() -> None:
    assert "503" not in post(added(replace(ORDERS, bypass_when_unavailable=True)))["responses"]


def test_a_schema_of_the_name_is_taken_for_the_same() -> None:
    text = SHOP + "components: {schemas: {IdempotencyProblem: {type: object}}}\n"

    assert added(ORDERS, to=text)["components"]["schemas"] == {"IdempotencyProblem": {"type": "object"}}


def test_an_overlay_of_what_it_made_adds_nothing_again() -> None:
    once = added(ORDERS)

    again: Any = overlay(Specification("shop.yaml", "", copy.deepcopy(once)), Policies((ORDERS,)))
    assert again is None


def test_the_page_shows_what_is_made_of_its_example(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "openapi.md").read_text(encoding="utf-8")
    _, description, configuration, *shown = [block.partition("```")[0] for block in page.split("```yaml\n")]
    config = tmp_path / "sidecar.yaml"
    config.write_text(configuration)

    found: Any = overlay(read(description), load(config, {}).policies)
    assert [yaml.safe_load(each) for each in shown] == found["actions"][1:]
