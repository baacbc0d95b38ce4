"""What can be wrong with the file itself, before anything is in it."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.config import file_reading
from sidecar.config.document import Document, Place
from sidecar.config.errors import ConfigError, ConfigProblem
from sidecar.config.loading import load


def the_problem(path: Path) -> ConfigProblem:
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    (problem,) = caught.value.problems
    return problem


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sidecar.yaml"


def test_a_missing_file_is_named(file: Path) -> None:
    assert str(the_problem(file)) == (
        f"{file}: the file cannot be read: No such file or directory; "
        "allowed: a YAML file that can be read, of at most 1MiB"
    )


def test_a_directory_is_not_a_file(tmp_path: Path) -> None:
    assert the_problem(tmp_path).message == "the file cannot be read: Is a directory"


def test_a_name_with_a_null_byte_is_no_name() -> None:
    assert the_problem(Path("a\0b")).message == "the file cannot be read: its name is not one"


@pytest.mark.parametrize("content", ["", "\n\n", "# nothing but a comment\n", "null\n", "---\n"])
def test_an_empty_file_is_not_taken_for_the_defaults(file: Path, content: str) -> None:
    file.write_text(content)

    assert the_problem(file).message == "the file is empty"


def test_a_file_in_another_encoding_is_refused_at_the_line_of_the_first_such_byte(file: Path) -> None:
    file.write_bytes("server:\n  workers: 1 # für alle\n".encode("latin-1"))

    problem = the_problem(file)
    assert (problem.line, problem.message) == (2, "the file is not UTF-8")


def test_a_byte_order_mark_is_no_problem(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbfpolicies:\n  - name: first\n")

    assert load(file, {}).policies.policies[0].name == "first"


def test_a_control_character_is_refused_by_its_code_point(file: Path) -> None:
    file.write_bytes(b"server:\n  workers: 1\x07\n")

    problem = the_problem(file)
    assert (problem.line, problem.message) == (2, "the character U+0007 is not YAML")


def test_a_file_over_the_limit_is_not_read_to_its_end(file: Path) -> None:
    file.write_bytes(b"#" * (file_reading.MAX_FILE + 1))

    assert the_problem(file).message == "the file is larger than 1MiB"


def test_control_characters_of_a_value_do_not_reach_the_terminal(file: Path) -> None:
    file.write_text('server:\n  workers: "\\e[31m"\n')

    assert the_problem(file).message == '"\\x1b[31m" is not a whole number'


def test_a_long_value_is_shown_in_part(file: Path) -> None:
    file.write_text(f"server:\n  workers: {'9' * 500}\n")

    assert the_problem(file).message == f'"{"9" * 59}…" is not a whole number'


def test_a_name_that_is_no_plain_word_is_shown_in_quotes(file: Path) -> None:
    file.write_text("server:\n  two words: 1\n")

    assert the_problem(file).field == 'server."two words"'


def test_what_was_written_nowhere_stands_where_the_document_does() -> None:
    document = Document(Place("sidecar.yaml", 1), places={("server",): Place("sidecar.yaml", 7)})

    assert document.place(("server", "workers")).line == 7
    assert document.place(("store", "url")).line == 1


NODES = st.recursive(
    st.none() | st.sampled_from(["1", "30s", "POST", "name", "&a x", "*a", "!!int 1", "<<", "{", "- a"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["server", "store", "policies", "url", "workers", "name", "match", "outcomes", "<<", "5xx"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def as_flow(node: object) -> str:
    if isinstance(node, dict):
        return "{" + ", ".join(f"{key}: {as_flow(value)}" for key, value in node.items()) + "}"
    if isinstance(node, list):
        return "[" + ", ".join(map(as_flow, node)) + "]"
    return "" if node is None else str(node)


def problems_of(file: Path) -> tuple[ConfigProblem, ...] | None:
    try:
        load(file, {})
    except ConfigError as error:
        return error.problems
    return None


@settings(max_examples=150)
@given(text=st.text(max_size=80) | NODES.map(as_flow))
def test_whatever_a_file_holds_it_is_accepted_or_its_problems_are_listed(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))

    problems = problems_of(file)

    assert problems is None or problems
    assert all(problem.message and problem.allowed for problem in problems or ())
