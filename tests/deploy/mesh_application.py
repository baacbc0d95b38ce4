"""What a mesh makes of a rendered resource: the operations that the resources use, on plain values.

Each raises where its operation would find nothing to work on, which a mesh passes over in silence.
"""

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

Plain = dict[str, Any]

_BY_NAME = re.compile(r"\$\.\.http_filters\[\?\(@\.name=='([^']+)'\)\]\.typed_config")


def apply_envoy_filter(resource: Mapping[str, Any], bootstrap: Plain) -> Plain:
    """The configuration of a proxy after Istio's patches, in their order."""
    changed = copy.deepcopy(bootstrap)
    for each in resource["spec"]["configPatches"]:
        _OPERATIONS[each["applyTo"], each["patch"]["operation"]](changed, each)
    return changed


def apply_patch_policy(resource: Mapping[str, Any], resources: Mapping[str, Plain]) -> dict[str, Plain]:
    """Envoy's resources by name after Envoy Gateway's patches, in their order."""
    changed = copy.deepcopy(dict(resources))
    for patch in resource["spec"]["jsonPatches"]:
        operation, name = patch["operation"], patch["name"]
        if (operation["op"], operation.get("path")) == ("add", ""):
            changed[name] = operation["value"]
        else:
            assert operation["op"] == "replace"
            _replace_config(changed[name], operation["jsonPath"], operation["value"])
    return changed


def manager(bootstrap: Plain) -> Plain:
    """The connection manager of the one listener."""
    found: Plain = bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    return found


def _add_cluster(bootstrap: Plain, each: Plain) -> None:
    bootstrap["static_resources"]["clusters"].append(each["patch"]["value"])


def _insert_filter(bootstrap: Plain, each: Plain) -> None:
    network = each["match"]["listener"]["filterChain"]["filter"]
    assert manager(bootstrap)["name"] == network["name"]
    filters = manager(bootstrap)["typed_config"]["http_filters"]
    names = [entry["name"] for entry in filters]
    filters.insert(names.index(network["subFilter"]["name"]), each["patch"]["value"])


def _merge_manager(bootstrap: Plain, each: Plain) -> None:
    assert each["match"]["listener"]["filterChain"]["filter"] == {"name": each["patch"]["value"]["name"]}
    _merge(manager(bootstrap), each["patch"]["value"])


def _merge_bootstrap(bootstrap: Plain, each: Plain) -> None:
    _merge(bootstrap, each["patch"]["value"])


_OPERATIONS = {
    ("CLUSTER", "ADD"): _add_cluster,
    ("HTTP_FILTER", "INSERT_BEFORE"): _insert_filter,
    ("NETWORK_FILTER", "MERGE"): _merge_manager,
    ("BOOTSTRAP", "MERGE"): _merge_bootstrap,
}


def _merge(into: Plain, value: Mapping[str, Any]) -> None:
    """Protobuf's merge: messages field by field, lists one after the other."""
    for name, new in value.items():
        old = into.get(name)
        if isinstance(old, dict):
            _merge(old, new)
        elif isinstance(old, list):
            old.extend(new)
        else:
            into[name] = new


def _replace_config(resource: Plain, path: str, value: Plain) -> None:
    match = _BY_NAME.fullmatch(path)
    assert match, path
    (found,) = [entry for entry in _http_filters(resource) if entry["name"] == match[1]]
    found["typed_config"] = value


def _http_filters(value: object) -> Sequence[Plain]:
    """Every entry of every `http_filters`, however deep."""
    if isinstance(value, list):
        return [entry for item in value for entry in _http_filters(item)]
    if not isinstance(value, dict):
        return []
    inside = [entry for item in value.values() for entry in _http_filters(item)]
    return [*value.get("http_filters", []), *inside]
