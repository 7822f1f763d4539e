"""The section [release] of hone.toml."""

import pytest

from core.errors import HoneError
from models.rollout.policy import ReleasePolicy


def test_the_steps_of_each_path() -> None:
    assert ReleasePolicy().steps == ("full",)
    assert ReleasePolicy(path="shadow").steps == ("shadow", "canary", "full")
    assert ReleasePolicy(path="canary").steps == ("canary", "full")
    assert ReleasePolicy(path="shadow", canary_share=0).steps == ("shadow", "full")


def test_more_than_half_of_the_traffic_is_refused_with_the_bound() -> None:
    with pytest.raises(HoneError, match=r"canary_share.*50"):
        ReleasePolicy(canary_share=51)


def test_a_path_through_a_canary_without_a_share_is_refused() -> None:
    with pytest.raises(HoneError, match=r"release: canary_share is 0 .*choose from 1 to 50"):
        ReleasePolicy(path="canary", canary_share=0)
