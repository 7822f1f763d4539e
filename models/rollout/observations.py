"""What a trial recorded, as observations of its tests: the challenger's figure less the champion's.

Everything is paired: the same images at the same time, but for the errors of a canary, where the
clients of one ten seconds are divided between the two models. What is missing is no observation.
"""

from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from models.rollout.criteria import ABSTENTIONS, DISAGREEMENT, ERRORS, LATENCY, OUTCOMES
from models.rollout.evidence import block_means, block_of
from models.rollout.policy import ReleasePolicy

if TYPE_CHECKING:
    import pandas as pd

LIVE = ("champion_answered", "champion_failed", "challenger_answered", "challenger_failed")


def observations(
    records: "pd.DataFrame",
    answers: "pd.DataFrame",
    truths: "pd.DataFrame",
    policy: ReleasePolicy,
) -> dict[str, list[float]]:
    """The observations of every test in new rows of `store.new_records` and the like."""
    made = answers[answers["error"].isna()]
    reviews = made["needs_review"].astype(float) - made["served_review"].astype(float)
    right = (truths["served_label"] == truths["truth"]).astype(float)
    right -= (truths["label"] == truths["truth"]).astype(float)
    return {
        ERRORS: _errors(records, answers),
        LATENCY: _latencies(records, policy),
        ABSTENTIONS: _means(reviews, made),
        DISAGREEMENT: _means((made["label"] != made["served_label"]).astype(float), made),
        OUTCOMES: _means(right, truths),
    }


def _errors(records: "pd.DataFrame", answers: "pd.DataFrame") -> list[float]:
    """Of a block that both models answered clients in, what clients got; else of shadow answers."""
    live, blocks = _live_errors(records)
    aside = answers[~np.isin(_blocks(answers["served_at"]), blocks)]
    return [*live, *_means(aside["error"].notna().astype(float), aside)]


def _live_errors(records: "pd.DataFrame") -> tuple[list[float], np.ndarray]:
    """The difference of the shares that failed, and the blocks in which both were asked."""
    counts = records[list(LIVE)].astype(int).groupby(_blocks(records["at"])).sum()
    champion, challenger = (
        counts[f"{name}_answered"] + counts[f"{name}_failed"] for name in ("champion", "challenger")
    )
    both = counts[(champion > 0) & (challenger > 0)]
    shares = [
        both[f"{name}_failed"] / (both[f"{name}_answered"] + both[f"{name}_failed"])
        for name in ("challenger", "champion")
    ]
    return (shares[0] - shares[1]).tolist(), both.index.to_numpy()


def _latencies(records: "pd.DataFrame", policy: ReleasePolicy) -> list[float]:
    """1 for a time beyond what is allowed, -1 for one within."""
    timed = [
        (at, 1.0 if challenger > policy.slower * champion else -1.0)
        for at, pairs in zip(records["at"], records["timings"], strict=True)
        for champion, challenger in pairs
    ]
    values = np.array([value for _, value in timed])
    return block_means(values, _blocks([at for at, _ in timed]), np.full(len(timed), "", object))


def _means(values: "pd.Series", rows: "pd.DataFrame") -> list[float]:
    sources = rows["source"].fillna("").to_numpy(object).astype(str)
    return block_means(values.to_numpy(float), _blocks(rows["served_at"]), sources)


def _blocks(times: "pd.Series | list[str]") -> np.ndarray:
    return block_of(np.array([datetime.fromisoformat(at).timestamp() for at in times], float))
