"""The places that answers marked for a person take in a batch."""

import pytest

from core.errors import HoneError
from labeling.batches.referred import ReviewPolicy, referred_places
from labeling.batches.select import SelectionConfig


def test_by_default_they_take_no_places() -> None:
    assert referred_places(ReviewPolicy(), SelectionConfig()) == 0


def test_they_take_their_share_and_no_place_that_is_promised() -> None:
    policy = ReviewPolicy(share=0.25)
    assert referred_places(policy, SelectionConfig(size=50)) == 13
    named = SelectionConfig(size=10, audit_share=0.1, named=[str(n) for n in range(8)])
    assert referred_places(policy, named) == 1
    full = SelectionConfig(size=10, audit_share=0.0, named=[str(n) for n in range(10)])
    assert referred_places(policy, full) == 0


def test_a_share_beyond_the_batch_is_refused() -> None:
    with pytest.raises(HoneError, match=r"review\.share is 1.5; choose from 0 to 1"):
        ReviewPolicy(share=1.5)
