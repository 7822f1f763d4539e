from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.strategies import STRATEGIES, Pool
from labeling.strategies.strategy import Strategy
from labeling.strategies.substitute import usable


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    """Small pools with ties, copies, one class only, certain predictions, few or no labels."""
    size, classes = draw(st.integers(1, 30)), draw(st.integers(2, 4))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    distinct = draw(st.integers(1, size))
    copies = rng.integers(distinct, size=size)
    embeddings = rng.normal(size=(distinct, 3)).astype(np.float32)[copies]
    sharp = draw(st.sampled_from([0.02, 1.0]))
    probs = rng.dirichlet([sharp] * classes, distinct)[copies]
    probs = np.eye(classes)[np.zeros(size, int)] if draw(st.booleans()) else probs
    count = draw(st.integers(0, 5))
    allowed = rng.random(size) < 0.8 if draw(st.booleans()) else None
    return Pool(
        probs=probs.astype(np.float32),
        embeddings=embeddings,
        ensemble=np.stack([probs, probs[::-1]]).astype(np.float32),
        labelled=rng.normal(size=(count, 3)).astype(np.float32) if count else None,
        labels=rng.integers(-1, classes, count) if count else None,
        allowed=allowed,
    )


@pytest.mark.parametrize("name", STRATEGIES)
@settings(max_examples=40, deadline=None)
@given(pool=pools(), size=st.integers(1, 12), seed=st.integers(0, 3))
def test_every_strategy_keeps_the_rules(name: str, pool: Pool, size: int, seed: int) -> None:
    before = [part.copy() for part in (pool.probs, pool.embeddings) if part is not None]
    choice = STRATEGIES[name].choose(pool, size, np.random.default_rng(seed))
    again = STRATEGIES[name].choose(pool, size, np.random.default_rng(seed))
    assert len(set(choice.rows.tolist())) == len(choice.rows) == min(size, len(pool.free))
    assert len(choice.scores) == len(choice.rows)
    assert set(choice.rows.tolist()) <= set(pool.free.tolist())
    assert choice.rows.tolist() == again.rows.tolist()
    after = [part for part in (pool.probs, pool.embeddings) if part is not None]
    assert all((old == new).all() for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_says_all_that_it_needs(name: str) -> None:
    rng = np.random.default_rng(0)
    probs = rng.dirichlet([1.0] * 3, 40).astype(np.float32)
    embeddings = rng.normal(size=(40, 4)).astype(np.float32)
    there = {"probs": probs, "embeddings": embeddings, "ensemble": np.stack([probs, probs[::-1]])}
    needs = STRATEGIES[name].needs
    pool = Pool(
        **{part: there[part] for part in needs}, allowed=None if needs else np.ones(40, bool)
    )
    assert len(STRATEGIES[name].choose(pool, 5, rng).rows) == 5


def test_one_that_lacks_what_it_needs_gives_way_to_one_that_does_not() -> None:
    probs = np.full((2, 2), 0.5)
    assert usable("margin", Pool(probs=probs)) == ("margin", "margin")
    assert usable("margin", Pool())[0] == "random"
    assert usable("bald", Pool(probs=probs))[0] == "margin"


def test_what_a_strategy_needs_are_names_of_arrays_of_the_pool() -> None:
    names = {field.name for field in fields(Pool)}
    for strategy in STRATEGIES.values():
        assert isinstance(strategy, Strategy)
        assert set(strategy.needs) <= names
