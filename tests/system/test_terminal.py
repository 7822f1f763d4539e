"""A command in a fork ends and prints as one in a process of its own."""

from pathlib import Path

import pytest

from tests.system.terminal import terminal
from tests.system.world import hone, make_world

pytestmark = pytest.mark.system


def test_a_command_in_a_terminal_ends_and_prints_as_in_a_process_of_its_own(
    tmp_path: Path,
) -> None:
    workspace = make_world(tmp_path, images=2)
    with terminal(workspace) as hone_in_terminal:
        for words in (["config"], ["trace", "nothing"]):
            in_fork = hone_in_terminal(*words, check=False)
            alone = hone(workspace, *words, check=False)
            assert in_fork.returncode == alone.returncode
            assert (in_fork.stdout, in_fork.stderr) == (alone.stdout, alone.stderr)
        with pytest.raises(AssertionError, match=r"(?s)trace nothing: 1.*hone: "):
            hone_in_terminal("trace", "nothing")
