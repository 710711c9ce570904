from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobs.document import Document, Place, dotted, parse_option, read_document, show, yaml_text


def read(tmp_path: Path, text: str | bytes) -> Document:
    file = tmp_path / "job.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_document(file)


def test_every_key_and_every_value_has_its_line_and_column(tmp_path: Path) -> None:
    document = read(tmp_path, "a:\n  b: [1, two]\n  'c d': {e: 3}\n")
    assert document.value == {"a": {"b": [1, "two"], "c d": {"e": 3}}}
    places = {path: (place.line, place.column) for path, place in document.values.items()}
    assert places[("a", "b")] == (2, 6)
    assert places[("a", "b", 1)] == (2, 10)
    assert places[("a", "c d", "e")] == (3, 14)
    assert document.place(("a", "c d"), of_key=True) == Place(document.file, 3, 3)


def test_what_is_not_there_is_placed_at_the_block_around_it(tmp_path: Path) -> None:
    document = read(tmp_path, "a: 1\nb:\n  c: 2\n")
    assert document.place(("b", "x", "y")) == Place(document.file, 2, 1)
    assert document.place(("x",)) == Place(document.file, 1, 1)


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("a: 1\n\tb: 2\n", 2, None, "a tab; YAML is indented with spaces"),
        ("a: [1, 2\nb: 3\n", 2, None, "is not YAML"),
        ("a: 1\nb: 2\na: 3\n", 3, 1, "appears twice; the first is in line 1"),
        ("a: 1\n---\nb: 2\n", 2, None, "a second document"),
        ("a: *b\n", 1, 4, "undefined alias"),
        ("a: !!python/object:os.system 1\n", 1, 4, "the tag tag:yaml.org,2002:python/object:os.system"),
        ("? [a]\n: 1\n", 1, 3, "a key has to be a word"),
        (b"a: 1\nb: \xff\n", 2, 4, "is not UTF-8"),
        ("a: &a [*a]\n", 1, None, "contains itself"),
        ("a: " + "[" * 1000, 1, 1, "nested too deeply"),
        ("<<: 3\n", 1, 5, "`<<` needs a block of keys"),
        ("a: b\x00\n", None, None, "is not YAML"),
    ],
)
def test_what_is_wrong_with_the_yaml_is_told_with_its_place(
    tmp_path: Path, text: str | bytes, line: int | None, column: int | None, says: str
) -> None:
    (problem,) = read(tmp_path, text).problems
    assert says in str(problem)
    assert line is None or problem.line == line
    assert column is None or problem.column == column


def test_a_file_that_can_not_be_read_is_a_sentence(tmp_path: Path) -> None:
    (missing,) = read_document(tmp_path / "no.yaml").problems
    assert str(missing) == f"{tmp_path}/no.yaml: there is no such file"
    (directory,) = read_document(tmp_path).problems
    assert "is a directory" in str(directory)
    (strange,) = read_document(Path("a\0b")).problems
    assert "can't be read" in str(strange)


def test_aliases_of_aliases_end(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]" for i in range(8)]
    (problem,) = read(tmp_path, "\n".join(lines)).problems
    assert "too large" in problem.message


def test_merged_blocks_are_filled_up_by_what_they_merge(tmp_path: Path) -> None:
    document = read(tmp_path, "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc:\n  <<: [*a, {z: 4}]\n")
    assert document.value == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 3},
        "c": {"x": 1, "y": 2, "z": 4},
    }


def test_variables_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHET_TEST", "x: [")
    monkeypatch.delenv("FRESHET_NONE", raising=False)
    document = read(tmp_path, "a: ${FRESHET_TEST}!\nb: '$${FRESHET_NONE}'\nc: ${FRESHET_NONE}\nd: ${1x}\n")
    assert document.value["a"] == "x: [!"
    assert document.value["b"] == "${FRESHET_NONE}"
    texts = [str(problem).removeprefix(f"{document.file}:") for problem in document.problems]
    assert texts[0] == "3:4: c: the environment variable FRESHET_NONE is not set"
    assert texts[1].startswith("4:4: d: ${1x} names no environment variable")


def test_options_have_no_lines() -> None:
    document = parse_option("[a, {b: 1}]", "--set x")
    assert document.value == ["a", {"b": 1}]
    assert set(document.values.values()) == {Place("--set x")}
    (problem,) = parse_option("[", "--set x").problems
    assert str(problem).startswith("--set x: is not YAML")


def test_paths_and_values_are_shown_as_in_yaml() -> None:
    assert dotted(("ps", "addresses", 0)) == "ps.addresses[0]"
    assert [show(each) for each in (True, None, "a", 1.5, [1, "b"])] == [
        "true",
        "nothing",
        "'a'",
        "1.5",
        "[1, b]",
    ]
    assert show({"a": 1}) == "a block of keys"
    assert len(show("x" * 500)) < 100


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=200)
    | st.text(alphabet="ab:-[]{}&*!|>'\"%@`#?, \n\t<.0~$", max_size=60).map(str.encode)
)
@example(b"!!float x")
@example(b"!!int ''")
@example(b"a: !!binary x")
@example(b"%YAML 9.9\n---\na")
@example(b"? ? ?")
@example(b"9" * 5000)
@example(b"a: " + b"9" * 5000)
def test_no_bytes_make_reading_raise(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "garbage.yaml"
    file.write_bytes(data)
    document = read_document(file)
    for problem in document.problems:
        assert str(problem).startswith(str(file))
        assert "\n" not in str(problem)


_plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(alphabet=st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet="ab.:", max_size=3), inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(max_examples=80, deadline=None)
@given(_plain)
@example({"a": "${HOME}", "b": "$${HOME}", "c": ["$$${x", "2026-01-01", "1e3", "yes", "~", "<<", "\x7f"]})
@example({"a": 1e-07, "b": 3e20, "c": "\U0001f600"})
@example(["\x85", {"a\x85": "\u2028"}, "\ufeff", "日本"])
@example("000" + 13 * "\u0100" + "0 0")
def test_what_was_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    file = tmp_path_factory.getbasetemp() / "written.yaml"
    file.write_text(yaml_text(value))
    document = read_document(file)
    assert document.problems == []
    assert document.value == value
