# ruff: noqa: N815 - the fields have the names that the CRDs give them
"""What is rendered of Envoy Gateway's resources, as its CRDs (gateway.envoyproxy.io/v1alpha1) have it.

No package carries these CRDs for Python, so this is written after the types in `api/v1alpha1` of Envoy
Gateway: names, kinds, what is required, enumerations and patterns. A field that is not here is an error.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[
    str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", max_length=253)
]
Duration = Annotated[str, Field(pattern=r"^([0-9]{1,5}(h|m|s|ms)){1,4}$")]
Attribute = Annotated[
    str,
    Field(
        pattern=r"^(connection\.|source\.|destination\.|request\.|response\.|upstream\.|xds\.route_)[a-z_1-9]*$"
    ),
]
BodyMode = Literal["Streamed", "Buffered", "BufferedPartial", "FullDuplexStreamed"]
XdsType = Literal[
    "type.googleapis.com/envoy.config.listener.v3.Listener",
    "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
]


class Part(BaseModel):
    """A mapping of which every field is known, each of just its own type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Metadata(Part):
    name: Name
    namespace: Name


class TargetRef(Part):
    group: Literal["gateway.networking.k8s.io"]
    kind: Literal["Gateway", "GatewayClass"]
    name: Name


class SectionTargetRef(TargetRef):
    sectionName: Name | None = None


class BackendRef(Part):
    name: Name
    namespace: Name | None = None
    port: Annotated[int, Field(ge=1, le=65535)]


class ProcessingModeOptions(Part):
    body: BodyMode | None = None
    attributes: list[Attribute] = []


class ProcessingMode(Part):
    request: ProcessingModeOptions | None = None
    response: ProcessingModeOptions | None = None
    allowModeOverride: bool = False


class ProcessorMetadata(Part):
    accessibleNamespaces: list[str] = []


class ExtProc(Part):
    backendRefs: Annotated[list[BackendRef], Field(min_length=1, max_length=16)]
    messageTimeout: Duration | None = None
    failOpen: bool | None = None
    processingMode: ProcessingMode | None = None
    metadata: ProcessorMetadata | None = None

    @model_validator(mode="after")
    def _never_open_in_full_duplex(self) -> Self:
        mode = self.processingMode or ProcessingMode()
        bodies = {options.body for options in (mode.request, mode.response) if options is not None}
        if self.failOpen and "FullDuplexStreamed" in bodies:
            raise ValueError("if FullDuplexStreamed is used, failOpen must be false")
        return self


class ExtensionSpec(Part):
    targetRefs: Annotated[list[SectionTargetRef], Field(max_length=16)]
    extProc: Annotated[list[ExtProc], Field(max_length=16)]


class JsonPatchOperation(Part):
    op: Literal["add", "remove", "replace", "move", "copy", "test"]
    path: str | None = None
    jsonPath: str | None = None
    value: Any = None

    @model_validator(mode="after")
    def _says_where(self) -> Self:
        if self.path is None and self.jsonPath is None:
            raise ValueError("path or jsonPath is needed")
        return self


class XdsPatch(Part):
    type: XdsType
    name: str
    operation: JsonPatchOperation


class PatchSpec(Part):
    type: Literal["JSONPatch"]
    targetRef: TargetRef
    jsonPatches: list[XdsPatch]


class Bootstrap(Part):
    type: Literal["Merge", "Replace", "JSONPatch"]
    jsonPatches: list[JsonPatchOperation]


class ProxySpec(Part):
    bootstrap: Bootstrap


class Resource(Part):
    apiVersion: Literal["gateway.envoyproxy.io/v1alpha1"]
    metadata: Metadata


class EnvoyExtensionPolicy(Resource):
    kind: Literal["EnvoyExtensionPolicy"]
    spec: ExtensionSpec


class EnvoyPatchPolicy(Resource):
    kind: Literal["EnvoyPatchPolicy"]
    spec: PatchSpec


class EnvoyProxy(Resource):
    kind: Literal["EnvoyProxy"]
    spec: ProxySpec
