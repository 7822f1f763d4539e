# ruff: noqa: F811 - fixtures
"""What a trial has seen, and what the verdict expects of the disagreement of two models."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from models.rollout.policy import ReleasePolicy
from models.rollout.spool import drain_shadow
from models.rollout.standing import disagreement_of, trial_standing
from models.serving.shadow_records import Live
from tests.models.registry.named_models import A, B, add_models, challenge, judge, promote
from tests.models.rollout.test_spool import ANSWER, engine, record, write  # noqa: F401 - a fixture


def test_without_figures_nothing_is_expected() -> None:
    assert disagreement_of({}) is None
    assert disagreement_of({"rows": 0, "champion_accuracy": 0.5}) is None
    assert disagreement_of({"rows": 50}) is None


def test_rows_on_which_either_is_wrong_may_differ() -> None:
    metrics = {"rows": 100, "champion_accuracy": 0.9, "only_challenger_right": 4,
               "only_champion_right": 2}  # fmt: skip
    bound = disagreement_of(metrics)  # 88 rows are right with both
    assert bound is not None
    assert 0.12 < bound < 0.2
    more = disagreement_of({**metrics, "rows": 1000, "champion_accuracy": 0.99})
    assert more is not None and more < bound
    assert disagreement_of(metrics | {"champion_accuracy": 0.0}) == pytest.approx(1.0)


def test_an_image_that_comes_again_is_no_more_traffic_in_shadow(
    engine: Engine, tmp_path: Path
) -> None:
    add_models(engine, A, B)
    promote(engine, A)
    judge(engine, B, A)
    challenge(engine, B, who="hone")
    of = {"champion": A, "challenger": B, "challenger_live": Live(7)}
    write(tmp_path, *(record(replace(ANSWER, prediction_id=f"p{n}"), **of) for n in range(30)))
    drain_shadow(engine, tmp_path)
    with engine.connect() as connection:
        standing = trial_standing(connection, ReleasePolicy(min_requests=20, min_hours=0))
    assert standing is not None
    assert (standing.counts.compared, standing.progress.requests) == (30, 1)
    assert "30 images compared, 100% of what it could see, 0 differ, 29 had come before; " in (
        standing.sentence()
    )
    assert "waits for 19 more images" in standing.sentence()
