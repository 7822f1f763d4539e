"""Accuracy over the whole pool from a batch that a strategy chose: LURE, beside the naive share.

A strategy asks about what is hard, so the share of right guesses in its batch says how hard the
batch was, not how good the model is. The levelled unbiased risk estimator (Farquhar, Gal and
Rainforth, 2021) puts that right: at each place of the batch, what was taken before it is known and
the draw stands for everything that was left; the places are weighed so that the later ones, which
know more, count more.

Here a place is either left to chance (the audit, the random arm), where each sample that is left is
as likely as the next, or it is the strategy's, which leaves nothing to chance. Which of the two it
is was drawn beforehand and is on record, so it is taken as given: the estimate stays unbiased, and
its weights stay near one, where those of the paper for the same batch are a hundred times smaller
for the strategy's samples than for those of a random arm of 5 %, and its error many times larger
(benchmarks/honest.py). What follows for the strategy's samples: each counts for itself, as a part
of the pool that is known. In a batch that is a small part of the pool that is next to nothing, and
LURE then says no more than the samples drawn by chance.

All this holds for a pool that is what was drawn and what is left. Where taking a sample closes its
near-duplicates too, those are in neither, and hard like what the strategy took: with groups of ten
LURE was off by +0.1. `one_by_one` tells; where it is False, the audit is the figure to go by: it is
drawn before anything is closed.

The model must not have been trained on the batch: these are guesses from before it was answered.
"""

import numpy as np

from core.intervals import Interval, share_bounds

BY_CHANCE = 1 + 1e-6  # draw probability times what was left, at most: above, a strategy chose
CLOSED = 0.01  # of the pool may go unasked with what was drawn: it moves LURE by no more


def naive_accuracy(right: np.ndarray, *, alpha: float = 0.05) -> Interval:
    """The share of right answers in the batch as if it had been drawn at random; it was not."""
    found = np.asarray(right, dtype=float)
    _check(found, found, found)
    share = float(found.mean())
    return Interval(share, *share_bounds(share, len(found), alpha), len(found))


def lure_accuracy(
    right: np.ndarray,
    *,
    draw_probability: np.ndarray,
    draws_from: np.ndarray,
    alpha: float = 0.05,
) -> Interval:
    """The share of right answers in the pool that a batch was drawn from, in the order it was.

    `draws_from` is how many samples were left at each draw, `draw_probability` that of the sample
    taken. The interval treats what was taken as known, and is Wilson's for what was left, for as
    many draws as would vary as much (Kish's number). Unbiased whatever the strategy, as long as the
    samples left the pool `one_by_one`; of `rows`, all count, but only those drawn by chance say
    anything of the rest.
    """
    right, drawn, left = (
        np.asarray(part, dtype=float) for part in (right, draw_probability, draws_from)
    )
    _check(right, drawn, left)
    chance = np.flatnonzero(drawn * left <= BY_CHANCE)
    if not len(chance):
        raise ValueError(
            f"none of {len(right)} samples was drawn by chance, so they say nothing about the "
            "rest; choose batches with an audit_share or a random_share above 0"
        )
    before = chance.astype(float)  # samples known at each draw by chance
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
    """Whether each draw of a whole batch, in order, took one sample and closed next to no other."""
    left = np.asarray(draws_from, dtype=float)
    fell = -np.diff(left)
    return bool((fell >= 1).all() and (fell - 1).sum() <= CLOSED * left.max(initial=0))


def _levelled(left: np.ndarray) -> np.ndarray:
    """What each draw counts, summing to one: the fewer are left, the less it leaves unknown."""
    if (left <= 1).any():  # the last of the pool: everything is known
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
    strange = right[~((right >= 0) & (right <= 1))]
    if len(strange):
        raise ValueError(f"a credit is {strange[0]}; each is from 0 (wrong) to 1 (right)")
