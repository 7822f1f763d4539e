# ruff: noqa: F811 - fixtures
"""The state of a trial, between its checks."""

from sqlalchemy import Engine

from core.database import writing
from models.rollout.store import TrialState, load_trial, save_trial
from tests.models.rollout.test_spool import engine  # noqa: F401 - a fixture


def test_the_state_of_a_trial_is_stored_and_replaced(engine: Engine) -> None:
    with writing(engine) as connection:
        assert load_trial(connection, 4) == TrialState(4)
        for last in (1, 2):
            save_trial(connection, TrialState(4, last_answer=last, evidence={"errors": {}}))
        assert load_trial(connection, 4) == TrialState(4, 0, 2, 0, {"errors": {}})
