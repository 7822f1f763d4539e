# ruff: noqa: F811 - fixtures
"""What services recorded of trials is reported as long as nobody drains it, and no longer."""

from pathlib import Path
from unittest.mock import Mock

from sqlalchemy import Engine

from core.workspace import Workspace
from models.rollout.checks import trials_are_stored
from models.rollout.spool import drain_shadow
from tests.models.rollout.test_spool import ANSWER, AT, engine, record, write  # noqa: F401


def test_a_record_that_waits_for_long_is_reported_until_it_is_drained(
    engine: Engine, tmp_path: Path
) -> None:
    workspace = Mock(spec=Workspace, traffic=tmp_path)
    write(tmp_path, record(ANSWER))
    assert list(trials_are_stored(engine, workspace)) == []  # it came just now
    path = write(tmp_path, record(ANSWER, at=AT))
    [finding] = trials_are_stored(engine, workspace)
    assert path.name in finding.what and f"to be drained: 1, the oldest of {AT}" in finding.what
    drain_shadow(engine, tmp_path)
    assert list(trials_are_stored(engine, workspace)) == []
