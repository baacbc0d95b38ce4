"""The shape of the configuration (CONTRACT §3): one class per section, one description per field."""

from typing import Annotated

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from sidecar.config.errors import RefusedError
from sidecar.config.kinds import choice, duration, fixed, not_yet, text, whole_number
from sidecar.config.origin_url import ORIGIN_FORM, origin_url
from sidecar.config.policy_schema import PolicySection, WhenDown
from sidecar.config.section import Section
from sidecar.config.server_schema import ServerSection
from sidecar.config.store_url import is_memory, store_url
from sidecar.idempotency.policy import Execution, Mode


class StoreSection(Section):
    """Where claims and records are kept."""

    url: Annotated[SecretStr, store_url()] = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"),
        description="The store's address. `memory:` is the one worker's own, and gone with it. "
        "A password may come only by environment, or from a file that `file:/absolute/path` names.",
    )
    prefix: Annotated[
        str, text("a prefix", "1 to 64 of letters, digits and . _ : -", r"[A-Za-z0-9._:-]{1,64}")
    ] = Field(default="idem", description="What the store's keys begin with.")
    timeout_ms: Annotated[int, duration("1ms", "10s")] = Field(
        default=250, alias="timeout", description="How long one operation of the store may take."
    )
    on_unavailable: Annotated[WhenDown, choice("a reaction", "reject", "bypass")] = Field(
        default="reject",
        description="When the store does not answer: `reject` refuses keyed requests (503), "
        "`bypass` forwards them unprotected, counted. A policy may say otherwise.",
    )
    wait_replicas: Annotated[int, fixed("0", 0, "a whole number")] = Field(
        default=0, description="Redis: replicas that must acknowledge a claim."
    )
    encryption_keys: tuple[Annotated[str, not_yet("a key", "[], an empty list")], ...] = Field(
        default=(), description="Keys that encrypt what is stored, newest first."
    )


class OriginSection(Section):
    """Where detached calls are made."""

    url: Annotated[str | None, origin_url()] = Field(
        default=None,
        description="Where the sidecar makes the calls of detached policies: Envoy's origin listener, which "
        "`envoy-config` renders for a unix socket or a loopback address, or the service itself. Needed where "
        "a policy is `detached`; `up` sets it.",
    )
    max_concurrent: Annotated[int, whole_number(1, 65_536)] = Field(
        default=256,
        description="How many detached calls a worker makes at once; more wait, within their deadline.",
    )


class Config(Section):
    """The whole configuration."""

    server: ServerSection = Field(default=ServerSection(), description="Where the sidecar listens.")
    store: StoreSection = Field(default=StoreSection(), description="Where claims and records are kept.")
    origin: OriginSection = Field(default=OriginSection(), description="Where detached calls are made.")
    policies: tuple[PolicySection, ...] = Field(
        default=(PolicySection(name="default"),),
        description="Which requests are protected, and how; the first that matches counts.",
    )

    @field_validator("store")
    @classmethod
    def _is_shared_by_all_workers(cls, store: StoreSection, info: ValidationInfo) -> StoreSection:
        server: ServerSection | None = info.data.get("server")
        if server is not None and server.workers > 1 and is_memory(store.url):
            raise RefusedError(
                f"memory: is not shared by {server.workers} workers, each would execute a key of its own",
                "redis:// or rediss://, or server.workers: 1",
                at=("url",),
            )
        return store

    @field_validator("policies")
    @classmethod
    def _are_there(cls, policies: tuple[PolicySection, ...]) -> tuple[PolicySection, ...]:
        if not policies:
            raise RefusedError(
                "an empty list would protect nothing",
                "at least one policy, or no such field for the default one",
            )
        return policies

    @field_validator("policies")
    @classmethod
    def _have_an_origin(
        cls, policies: tuple[PolicySection, ...], info: ValidationInfo
    ) -> tuple[PolicySection, ...]:
        origin: OriginSection | None = info.data.get("origin")
        for index, policy in enumerate(policies):
            detached = policy.execution is Execution.DETACHED and policy.mode is not Mode.OFF
            if detached and origin is not None and origin.url is None:
                raise RefusedError(
                    "detached calls are made at origin.url, which is not set",
                    f"inline, or with origin.url: {ORIGIN_FORM}",
                    at=(index, "execution"),
                )
        return policies
