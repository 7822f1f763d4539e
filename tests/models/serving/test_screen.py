"""The labelling config of Label Studio is untrusted text: a screen or none, in linear work."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.kinds import KINDS
from models.serving import screen
from models.serving.screen import DEPTH, LENGTH, screen_of
from tests.counted_work import lines_run

CLASSES = ["cat", "dog"]
KIND = KINDS["classification"]
CHOICES = (
    '<Image name="image" value="$image"/><Choices name="label" toName="image">'
    '<Choice value="cat"/><Choice value="dog"/></Choices>'
)
LINES_PER_CHARACTER = 2  # of Python; nested choices took as many as there were pairs of them


def nested(depth: int, inner: str = CHOICES, tag: str = "View") -> str:
    return f"<{tag}>" * depth + inner + f"</{tag}>" * depth


def screen_lines(config: str) -> int:
    """How many lines of its module `screen_of` runs."""
    return lines_run(lambda: screen_of(config, CLASSES, KIND), file=screen.__file__)[1]


def test_a_screen_is_known_by_its_choice_about_an_image() -> None:
    found = screen_of(nested(10), CLASSES, KIND)
    assert found is not None
    assert (found.control, found.image, found.field) == ("label", "image", "image")
    assert found.classes == {"cat", "dog"}


def test_a_config_of_many_tags_is_read_in_parts() -> None:
    texts = '<Text name="a" value="b"/>' * 2_000
    assert screen_of(nested(1, texts + CHOICES + texts), CLASSES, KIND) is not None


@pytest.mark.parametrize("depth", [DEPTH, 1_000, 100_000])
def test_a_config_deeper_than_any_screen_is_none(depth: int) -> None:
    assert screen_of(nested(depth), CLASSES, KIND) is None
    choices = "<Choices toName='image'>" * depth + CHOICES + "</Choices>" * depth
    assert screen_of(choices, CLASSES, KIND) is None
    assert screen_lines(nested(depth)) <= 100 * DEPTH + screen._PART


def test_a_config_longer_than_any_screen_is_none() -> None:
    padding = " " * LENGTH
    assert screen_of(nested(1, CHOICES + padding), CLASSES, KIND) is None


@pytest.mark.parametrize(
    "config",
    ["\ud800", "\0", "<View>\ud800</View>", '<?xml version="1.0" encoding="utf-16"?><View/>',
     '<?xml version="1.0" encoding="nonsense"?><View/>', "<View", "</View>"],
)  # fmt: skip
def test_text_that_is_no_xml_is_none(config: str) -> None:
    assert screen_of(config, CLASSES, KIND) is None


tags = st.sampled_from(
    [CHOICES, "<View>", "</View>", "<Choices toName='image'>", "</Choices>", "<Choice value='a'/>",
     "<Image name='image' value='$x'/>", "<![CDATA[", "]]>", "<?a?>", "&amp;", "&a;", "<!--", "-->"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(tags, st.text(max_size=10)), max_size=80).map("".join))
def test_any_text_is_a_screen_or_none_in_linear_work(config: str) -> None:
    assert screen_lines(config) <= LINES_PER_CHARACTER * len(config) + 200
