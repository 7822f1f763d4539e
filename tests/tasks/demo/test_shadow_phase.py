"""The demo sets in hone.toml that the recovered model goes through a shadow first."""

from pathlib import Path

import pytest

from tasks.context import open_context
from tasks.demo import recipe, shadow_phase


def test_the_lines_of_hone_toml_are_set_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_WORKSPACE", str(tmp_path / "workspace"))
    recipe.make_workspace(tmp_path, recipe.Recipe(seed=0))
    assert open_context().policies.release.path == "direct"
    shadow_phase.choose_path()
    policy = open_context().policies.release
    assert (policy.path, policy.steps) == ("shadow", ("shadow", "full"))
    assert (policy.min_requests, policy.min_hours) == (shadow_phase.IMAGES, 0.0)
    assert not shadow_phase.is_in_shadow()
    with pytest.raises(ValueError, match="no line"):
        shadow_phase.choose_path()
