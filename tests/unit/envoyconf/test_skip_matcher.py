import urllib.parse
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.envoyconf.matcher import skip_matcher
from sidecar.envoyconf.typed import plain
from sidecar.idempotency.paths import normalise
from sidecar.idempotency.patterns import HostPattern, PathPattern
from sidecar.idempotency.policy import PLACES_IN_BODY, KeyPlace, KeySource, Match, Mode, Policies, Policy
from tests.unit.envoyconf.matcher_evaluator import full_match, skips

PAYMENTS = Policy(
    "payments",
    match=Match(
        methods=frozenset({"POST", "PATCH"}),
        hosts=(HostPattern("*.shop.example"), HostPattern("shop.example")),
        paths=(PathPattern("/v1/payments/**"), PathPattern("/v1/*/refunds")),
    ),
)


def matcher(*policies: Policy) -> Mapping[str, Any]:
    return plain(skip_matcher(Policies(policies)))


def request(
    method: str = "POST", path: bytes = b"/v1/payments", host: bytes = b"shop.example", **headers: bytes
) -> dict[str, bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {":method": method.encode(), ":path": path, ":authority": host, **named}


def keyed(
    path: bytes = b"/v1/payments", method: str = "POST", host: bytes = b"shop.example"
) -> dict[str, bytes]:
    return request(method, path, host, idempotency_key=b"a")


@pytest.mark.parametrize(
    "headers",
    [
        keyed(),
        keyed(method="PATCH"),
        keyed(b"/v1/payments/"),
        keyed(b"/v1/payments/7/capture"),
        keyed(b"/v1/payments?expand=all"),
        keyed(b"/v1/orders/refunds?x=1"),
        keyed(host=b"a.b.shop.example:8443"),
        keyed(host=b"SHOP.example"),
        request(idempotency_key=b""),
        request(idempotency_key=b"\xff\xfe"),
        request("GET", b"/elsewhere", b"other.example", idempotency_attempt=b"7"),
    ],
)
def test_what_a_policy_may_want_reaches_the_sidecar(headers: dict[str, bytes]) -> None:
    assert not skips(matcher(PAYMENTS), headers)


@pytest.mark.parametrize(
    "headers",
    [
        request(),
        request(x_idempotency_key=b"a"),
        keyed(method="GET"),
        keyed(b"/v1/paymentsx"),
        keyed(b"/v1/orders"),
        keyed(b"/v2/?p=/v1/payments"),
        keyed(b"/v1/orders?then=/refunds"),
        keyed(b"/v1/a/b/refunds"),
        keyed(b"/elsewhere?q=\xff"),
        keyed(host=b"shop.example.org"),
        keyed(host=b"notshop.example"),
    ],
)
def test_what_no_policy_wants_is_skipped(headers: dict[str, bytes]) -> None:
    assert skips(matcher(PAYMENTS), headers)


@pytest.mark.parametrize("path", [b"/v1/\xff/refunds", b"/v1/\xc3\xa9/refunds", b"/\x80"])
def test_a_path_that_is_no_ascii_is_left_to_the_sidecar(path: bytes) -> None:
    assert not skips(matcher(PAYMENTS), keyed(path))
    assert skips(matcher(PAYMENTS), request(path=path)), "without a key nothing is decided about it"


@pytest.mark.parametrize(
    "path", [b"//v1/payments", b"/v1/./payments", b"/x/../v1/payments", b"/v1/%70ayments", b"\\v1\\payments"]
)
def test_a_spelling_that_the_sidecar_would_see_through_is_left_to_it(path: bytes) -> None:
    assert normalise(path.decode()) == "/v1/payments"
    assert not skips(matcher(PAYMENTS), keyed(path))


@pytest.mark.parametrize("path", [b"/", b"/a/", b"/a.b/~c/-_/(d)", b"/a..b/c;d=1", b"/a?//x/%2e"])
def test_a_path_in_its_normal_form_is_told_apart(path: bytes) -> None:
    assert normalise(path.partition(b"?")[0].decode()) == path.partition(b"?")[0].decode()
    assert skips(matcher(PAYMENTS), keyed(path))


def test_a_host_that_is_no_ascii_is_left_to_the_sidecar() -> None:
    assert not skips(matcher(PAYMENTS), keyed(host=b"shop.example\xff"))


def test_a_required_key_is_wanted_where_it_is_absent() -> None:
    policy = Policy("strict", match=PAYMENTS.match, key=KeySource(required=True))

    assert not skips(matcher(policy), request())
    assert skips(matcher(policy), request("GET"))


def test_a_policy_for_everything_with_a_required_key_sees_everything() -> None:
    policy = Policy("all", match=Match(), key=KeySource(required=True))

    assert not skips(matcher(policy), request("GET", b"*", b""))


class Watched(dict[str, bytes]):
    """Headers that know by which name they were looked at."""

    def __init__(self, headers: Mapping[str, bytes]) -> None:
        super().__init__(headers)
        self.looked_at = list[str]()

    def get(self, name: str, default: Any = None) -> Any:
        self.looked_at.append(name)
        return super().get(name, default)


def test_that_a_request_has_no_key_is_seen_before_any_pattern_is_tried() -> None:
    """Envoy stops at the first condition that does not hold, as `all` does."""
    headers = Watched(request())
    assert skips(matcher(PAYMENTS), headers)
    assert headers.looked_at == ["idempotency-attempt", "idempotency-key"]


def test_a_policy_that_only_watches_wants_what_one_that_enforces_wants() -> None:
    watching = replace(PAYMENTS, mode=Mode.SHADOW)

    assert not skips(matcher(watching), keyed())
    assert skips(matcher(watching), request())


@pytest.mark.parametrize(
    "path", [b"/v1/payments?key=a", b"/v1/payments?%6Bey=a", b"/v1/payments?", b"/v1/payments?\xff"]
)
def test_a_key_in_the_query_may_be_in_every_query(path: bytes) -> None:
    policy = replace(PAYMENTS, key=KeySource(place=KeyPlace.QUERY, name="key"))

    assert not skips(matcher(policy), request(path=path))
    assert skips(matcher(policy), request()), "without a query there is no key in it"
    assert skips(matcher(policy), request("GET", path))
    assert skips(matcher(policy), keyed()), "a header is not where this policy looks"


@pytest.mark.parametrize("place", [KeyPlace.JSON, KeyPlace.DERIVED])
def test_a_key_of_the_body_may_be_had_of_every_request(place: KeyPlace) -> None:
    policy = replace(PAYMENTS, key=KeySource(place=place))

    assert not skips(matcher(policy), request())
    assert skips(matcher(policy), request("GET"))
    assert skips(matcher(policy), request(path=b"/v2"))


def test_a_policy_for_one_route_counts_on_every_route_for_the_matcher_sees_none() -> None:
    policy = replace(PAYMENTS, match=replace(PAYMENTS.match, route="payments"))

    assert matcher(policy) == matcher(PAYMENTS)


def test_a_policy_that_is_off_wants_nothing() -> None:
    assert skips(matcher(Policy("idle", match=PAYMENTS.match, mode=Mode.OFF)), keyed())


def test_a_policy_that_an_earlier_one_hides_still_counts() -> None:
    off = Policy("idle", match=Match(), mode=Mode.OFF)

    assert not skips(matcher(off, PAYMENTS), keyed())


def test_each_policy_looks_for_its_own_key_header() -> None:
    mine = Policy("mine", match=Match(), key=KeySource(name="x-request-key"))

    assert not skips(matcher(mine), request(x_request_key=b"a"))
    assert skips(matcher(mine), keyed())


def test_without_policies_only_an_attempt_that_a_client_wrote_is_of_interest() -> None:
    assert skips(matcher(), keyed())
    assert not skips(matcher(), request(idempotency_attempt=b"1"))


def test_literals_of_a_pattern_stay_literal() -> None:
    odd = Policy("odd", match=Match(paths=(PathPattern("/a.b+c/(d)$[x]/*.json"),)))

    assert not skips(matcher(odd), keyed(b"/a.b+c/(d)$[x]/x.json"))
    assert skips(matcher(odd), keyed(b"/aXb+c/(d)$[x]/x.json"))
    assert skips(matcher(odd), keyed(b"/a.b+c/(d)"))
    assert skips(matcher(odd), keyed(b"/a.b+c/(d)$x/x.json"))


def test_the_evaluator_reads_bytes_as_re2_does() -> None:
    assert full_match(r"/[^/?]*", "/é".encode())
    assert not full_match(r"/[^/?]*", b"/\xe9"), "a class takes no byte that is not UTF-8"
    assert full_match(r"/\C*", b"/\xe9\n")


_pieces = st.sampled_from(["/", "/", "v1", "pay", "*", "**", "/**", ".", "-", "é", "A"])
_globs = st.lists(_pieces, max_size=4).map(lambda pieces: "/" + "".join(pieces))
_wire = st.sampled_from([b"/", b"v1", b"pay", b".", b"-", b"?", b"A", b"\n", b"\xc3\xa9", b"\xe9", b"\xff"])
_runs = st.lists(_wire, max_size=3).map(b"".join)
_queries = st.sampled_from(
    [b"", b"", b"?", b"?/v1", b"?\xff", b"?a?b", b"?x-key=k", b"?a&%69dempotency-key=k", b"?x%2Dkey=\xff"]
)
_authorities = st.sampled_from(
    [b"a.example", b"A.EXAMPLE:80", b"a.example:81", b"b.a.example", b"example", b"\xe9.example", b""]
)
_matches = st.builds(
    Match,
    methods=st.sampled_from([frozenset(), frozenset({"POST"}), frozenset({"POST", "M-SEARCH"})]),
    hosts=st.sampled_from([(), (), ("*.example",), ("a.example", "é.example"), ("A.Example:81",)]).map(
        lambda hosts: tuple(map(HostPattern, hosts))
    ),
    paths=st.lists(_globs.map(PathPattern), max_size=2).map(tuple),
    route=st.sampled_from([None, None, "mine"]),
)
_keys = st.builds(
    KeySource,
    name=st.sampled_from(["idempotency-key", "x-key"]),
    place=st.sampled_from([KeyPlace.HEADER, *KeyPlace]),
    required=st.booleans(),
)
_modes = st.sampled_from([Mode.ENFORCE, *Mode])
_policies = st.builds(Policy, name=st.just("p"), match=_matches, key=_keys, mode=_modes)

Scenario = tuple[list[Policy], dict[str, bytes]]


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """Policies, and a request whose path often fits one of their patterns."""
    policies = draw(st.lists(_policies, max_size=2))
    globs = [pattern.glob for policy in policies for pattern in policy.match.paths]
    glob = draw(st.sampled_from(globs) if globs else _globs)
    literals = glob.encode(draw(st.sampled_from(["utf-8", "latin-1"]))).replace(b"**", b"*").split(b"*")
    path = literals[0] + b"".join(draw(_runs) + literal for literal in literals[1:])
    headers = {
        ":method": draw(st.sampled_from([b"POST", b"POST", b"M-SEARCH", b"GET"])),
        ":path": path + draw(_queries),
        ":authority": draw(_authorities),
    }
    keys = st.sampled_from([b"", b"k", b"k,l", b"\xff"])
    present = draw(st.sampled_from([(), ("idempotency-key",), ("idempotency-key", "x-key")]))
    return policies, headers | {name: draw(keys) for name in present}


def selected(policies: list[Policy], headers: dict[str, bytes], encoding: str = "latin-1") -> Policy | None:
    """The policy by which the sidecar would act on a request, if any, on whatever route it comes."""
    path, _, query = headers[":path"].decode(encoding, "surrogateescape").partition("?")
    authority = headers[":authority"].decode(encoding, "surrogateescape")
    for route in ("mine", "another"):
        found = Policies(tuple(policies)).select(headers[":method"].decode(), authority, path, route)
        if found is not None and acts(found.key, headers, query):
            return found
    return None


def acts(key: KeySource, headers: dict[str, bytes], query: str) -> bool:
    """Whether the sidecar would do anything: a key is there, may be in the body, or is missed."""
    if key.required or key.place in PLACES_IN_BODY:
        return True
    if key.place is KeyPlace.QUERY:
        return key.name in urllib.parse.parse_qs(query, keep_blank_values=True)
    return key.name in headers


@settings(max_examples=300)
@given(scenarios(), st.sampled_from(["latin-1", "utf-8"]))
def test_nothing_that_the_sidecar_would_act_on_is_ever_skipped(scenario: Scenario, encoding: str) -> None:
    policies, headers = scenario

    if selected(policies, headers, encoding):
        assert not skips(matcher(*policies), headers)


@settings(max_examples=300)
@given(scenarios())
def test_every_well_formed_request_that_no_policy_wants_is_skipped(scenario: Scenario) -> None:
    policies, headers = scenario
    path = headers[":path"].partition(b"?")[0]
    normal = path.isascii() and b"//" not in path and b"/." not in path
    well_formed = normal and headers[":authority"].isascii()
    queried = b"?" in headers[":path"] and any(policy.key.place is KeyPlace.QUERY for policy in policies)

    if well_formed and not queried and not any(selected([policy], headers) for policy in policies):
        assert skips(matcher(*policies), headers)
