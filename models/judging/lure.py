"""Accuracy over the whole pool from a batch that a strategy chose: LURE, and the naive share.

A strategy chooses hard samples, so the share of correct predictions in its batch measures how hard
the batch was, not how good the model is. The levelled unbiased risk estimator (LURE: Farquhar, Gal
and Rainforth, 2021) corrects that: at each position of the batch, the samples drawn earlier are
known and the current draw represents all samples that remained. Positions are weighted so that
later ones, at which more is known, count more.

Here a position is filled either at random, each remaining sample with the same probability, or by
the strategy, without randomness. The standing audit is apart from the pool and has no part in it:
the estimate stands beside the audit's, which has more random samples by default. Which of the two
applies was drawn beforehand and is recorded, so the estimator conditions on it. It stays unbiased
with weights close to one. The paper's weights for the same batch are a hundred times smaller for
the strategy's samples than for the random samples at a random share of 5 %, and its error is many
times larger (benchmarks/honest.py). A sample that the strategy chose therefore counts only for
itself, as a known part of the pool; in a batch that is a small part of the pool, LURE is close to
the estimate from the random samples alone.

The estimate assumes that the pool consists of the drawn and the remaining samples. Where drawing a
sample also removes its near-duplicates, those are in neither group, and as hard as the samples that
the strategy chose: with groups of ten LURE was off by +0.1. `is_sequential_draw` reports whether
the assumption holds; where it does not, use the audit accuracy.

The model must not have been trained on the batch: its predictions are from before the answers.
"""

import numpy as np

from core.intervals import Interval, share_bounds

BY_CHANCE = 1 + 1e-6  # maximum of draw probability times samples left; above, a strategy chose
CLOSED = 0.01  # share of the pool that may be removed with drawn samples: LURE moves by no more


def naive_accuracy(right: np.ndarray, *, alpha: float = 0.05) -> Interval:
    """The mean credit in the batch, with an interval that assumes a random draw."""
    credits = np.asarray(right, dtype=float)
    _check(credits, credits, credits)
    share = float(credits.mean())
    return Interval(share, *share_bounds(share, len(credits), alpha), len(credits))


def lure_accuracy(
    right: np.ndarray,
    *,
    draw_probability: np.ndarray,
    draws_from: np.ndarray,
    alpha: float = 0.05,
) -> Interval:
    """The mean credit over the pool that a batch was drawn from; rows are in the order of drawing.

    `draws_from` is the number of samples left at each draw, `draw_probability` the probability of
    the sample drawn. The interval treats drawn samples as known and is Wilson's for the rest, with
    Kish's effective number of draws. Unbiased for every strategy while `is_sequential_draw` holds.
    The interval's `rows` counts all rows; only those drawn at random inform about the rest.
    """
    right, drawn, left = (
        np.asarray(part, dtype=float) for part in (right, draw_probability, draws_from)
    )
    _check(right, drawn, left)
    chance = np.flatnonzero(drawn * left <= BY_CHANCE)
    if not len(chance):
        raise ValueError(
            f"none of {len(right)} samples was drawn at random, so they do not represent the "
            "rest; choose batches with a random_share above 0"
        )
    before = chance.astype(float)  # samples known at each random draw
    known = (np.cumsum(right) - right)[chance]
    places = _levelled(left[chance])
    rest = places * left[chance] / (before + left[chance])
    share_of_rest = float(rest.sum())
    drawn_right = float(rest @ right[chance]) / share_of_rest
    low, high = share_bounds(drawn_right, float(share_of_rest**2 / (rest @ rest)), alpha)
    certain = float(places @ (known / (before + left[chance])))
    value, low, high = (certain + share_of_rest * part for part in (drawn_right, low, high))
    return Interval(value, max(0.0, low), min(1.0, high), len(right))


def is_sequential_draw(draws_from: np.ndarray) -> bool:
    """Whether each draw, in order, removed one sample from the pool and almost no other."""
    left = np.asarray(draws_from, dtype=float)
    fell = -np.diff(left)
    return bool((fell >= 1).all() and (fell - 1).sum() <= CLOSED * left.max(initial=0))


def _levelled(left: np.ndarray) -> np.ndarray:
    """The weight of each draw, summing to one: the fewer samples are left, the larger."""
    if (left <= 1).any():  # the last sample of the pool: everything is known
        return (left <= 1) / (left <= 1).sum()
    weights = 1 / (left * (left - 1))
    return np.asarray(weights / weights.sum())


def _check(right: np.ndarray, drawn: np.ndarray, left: np.ndarray) -> None:
    if not len(right):
        raise ValueError("there is no answered sample to estimate an accuracy from; label some")
    if not len(right) == len(drawn) == len(left):
        raise ValueError(
            f"{len(right)} answers, {len(drawn)} draw probabilities and {len(left)} numbers of "
            "samples left; give one of each for every sample"
        )
    invalid = right[~((right >= 0) & (right <= 1))]
    if len(invalid):
        raise ValueError(f"a credit is {invalid[0]}; each is from 0 (wrong) to 1 (right)")
