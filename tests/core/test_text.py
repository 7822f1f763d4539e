"""Values in messages."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from core.text import LISTED, listed, printable, short, storable


@given(st.text())
def test_any_text_can_be_stored(text):
    stored = storable(text)
    assert "\0" not in stored
    stored.encode("utf-8")


def test_half_a_character_is_written_out():
    assert storable("a\ud800b\0") == "a\\ud800b\\0"


@given(st.text())
def test_no_text_moves_a_terminal(text):
    shown = printable(text)
    assert not [sign for sign in shown if unicodedata.category(sign) in ("Cc", "Cs")
                and sign not in "\t\n"]  # fmt: skip
    assert printable(shown) == shown


def test_what_a_terminal_obeys_is_written_out_and_letters_stay():
    assert printable("\x1b[2Jcat\x07\x9b\r\u202egnp") == "\\x1b[2Jcat\\x07\\x9b\\r\\u202egnp"
    assert printable("schön\t猫\nمی\u200cخواهم") == "schön\t猫\nمی\u200cخواهم"


def test_of_many_names_the_first_are_listed_and_the_others_counted():
    names = [str(number) for number in range(LISTED + 3)]
    assert listed(names).endswith(f"{LISTED - 1} and 3 more")
    assert listed(["a", "b"]) == "a, b"


@given(st.text() | st.lists(st.integers()))
def test_a_value_is_shown_in_one_short_line(value):
    assert len(short(value).splitlines()) == 1
    assert len(short(value)) <= 80 or "\\" in short(value)
