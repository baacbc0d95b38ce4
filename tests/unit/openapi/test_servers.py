import pytest

from sidecar.config.errors import RefusedError
from sidecar.openapi.servers import urls


def test_a_server_is_every_value_of_its_variables() -> None:
    variables = {"env": {"default": "live", "enum": ["live", "test"]}, "v": {"default": "v2", "enum": []}}

    assert urls({"url": "https://{env}.a/{v}", "variables": variables}) == (
        "https://live.a/v2",
        "https://test.a/v2",
    )
    assert urls({}) == ("/",)
    assert urls({"url": "/{any}", "variables": None}) == ("/{any}",)


def test_a_value_may_be_what_yaml_takes_for_a_number() -> None:
    ports = {"p": {"default": 443, "enum": [443, 8443]}, 1: {"default": 2.0}}

    assert urls({"url": "//a:{p}/v{1}", "variables": ports}) == ("//a:443/v2.0", "//a:8443/v2.0")


def test_a_url_is_only_one_with_its_values() -> None:
    assert urls({"url": "http://[{h}]/", "variables": {"h": {"default": "::1"}}}) == ("http://[::1]/",)


def test_no_more_than_sixty_four_are_looked_at() -> None:
    variables = {name: {"enum": list(range(10))} for name in "abcdefgh"}

    assert len(urls({"url": "/{a}{b}{c}{d}{e}{f}{g}{h}", "variables": variables})) == 64


@pytest.mark.parametrize(
    ("server", "message", "allowed"),
    [
        ({"url": ["/"]}, "the url of a server is a list", "a text"),
        ({"url": None}, "the url of a server is an empty value", "a text"),
        ({"url": "http://["}, '"http://[" is not a URL', "https://HOST/PATH or /PATH"),
        ({"variables": 5}, "the variables of a server are not a mapping", "a mapping"),
        ({"variables": {"h": 5}}, 'the server variable "h" is not a mapping', "a mapping"),
        (
            {"variables": {"h": {"enum": 5}}},
            'the enum of the server variable "h" is not a list',
            "a list of texts",
        ),
        (
            {"variables": {"h": {"enum": {"a": 1}}}},
            'the enum of the server variable "h" is not a list',
            "a list of texts",
        ),
        ({"variables": {"h": {"enum": [["a"]]}}}, 'a value of the server variable "h" is a list', "a text"),
        ({"variables": {"h": {"default": {}}}}, 'a value of the server variable "h" is a mapping', "a text"),
        (
            {"url": "//{h}/", "variables": {"h": {"enum": ["a", "["]}}},
            '"//[/" is not a URL',
            "https://HOST/PATH or /PATH",
        ),
        (
            {"url": "//{h}/", "variables": {"h": {"default": "["}}},
            '"//[/" is not a URL',
            "https://HOST/PATH or /PATH",
        ),
        (
            {"url": "//{h}/", "variables": {"h": {"default": "a\u2100b"}}},
            '"//a\u2100b/" is not a URL',
            "https://HOST/PATH or /PATH",
        ),
    ],
)
def test_what_is_no_server_is_refused(server: dict[str, object], message: str, allowed: str) -> None:
    with pytest.raises(RefusedError) as refused:
        urls(server)

    assert (refused.value.message, refused.value.allowed) == (message, allowed)
