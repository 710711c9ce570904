import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.variables import escaped, filled_in

TEXTS = st.text(alphabet="${}aB_\n'", max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(TEXTS, values, max_size=3),
)


@given(VALUES)
def test_what_was_escaped_comes_back_and_needs_no_variable(value: object) -> None:
    assert filled_in(escaped(value), {}) == value


def test_variables_are_filled_in_wherever_a_text_stands() -> None:
    value = {"a": ["x${NAME}y${NAME}", 3, {"${NAME}": "$NAME $${NAME}"}]}
    assert filled_in(value, {"NAME": "n"}) == {"a": ["xnyn", 3, {"${NAME}": "$NAME ${NAME}"}]}


def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(KeyError, match="OTHER"):
        filled_in(["${NAME} ${OTHER}"], {"NAME": "n"})
