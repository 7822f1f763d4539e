"""Which samples a duel asks about, in which order: drawn at random before anybody answers.

A group of near-duplicates counts once. Each group has a number from a keyed hash, another one in
each duel; the order of the numbers decides which groups are scored where there are too many, and in
which order the disagreements are asked.
"""

import hashlib
import hmac
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from labeling.ledger.duels import DRAWN

MOST_SCORED = 5_000  # groups of one population: the share of disagreements is known within 1 point
POOL, TRAFFIC = "pool", "traffic"  # what can be asked about, and of it what was served lately


@dataclass(frozen=True)
class Disagreements:
    """What is asked in a duel, and of how many groups in each population it was drawn."""

    drawn: pd.DataFrame  # as DRAWN declares
    scored: dict[str, int]
    disagreements: dict[str, int]


def in_random_order(pool: pd.DataFrame, key: bytes, *, duel: str) -> pd.DataFrame:
    """One sample of each group of `pool` (sample_id, group_id), in the order of their numbers."""
    first = pool.sort_values("sample_id").drop_duplicates("group_id")
    numbers = [_number(key, duel, str(group)) for group in first["group_id"]]
    return first.assign(number=numbers).sort_values("number", ignore_index=True)


def split_populations(
    pool: pd.DataFrame, served: Collection[str], *, excluded: Collection[str]
) -> dict[str, pd.DataFrame]:
    """The pool by population, without the groups that either model was trained on.

    `served` are samples that the champion answered lately: the traffic. Their near-duplicates are
    in neither population.
    """
    free = pool[~pool["group_id"].isin(list(excluded))]
    traffic = free[free["sample_id"].isin(list(served))]
    return {POOL: free[~free["group_id"].isin(traffic["group_id"])], TRAFFIC: traffic}


def find_disagreements(
    scored: Mapping[str, pd.DataFrame],
    champion: Mapping[str, tuple[np.ndarray, Sequence[str]]],
    challenger: Mapping[str, tuple[np.ndarray, Sequence[str]]],
    *,
    most: int,
) -> Disagreements:
    """What two models answer differently: by population the samples, their outputs and answers.

    Of each population the first `most` are drawn; no more could be asked.
    """
    parts, counts = [], {}
    for population, rows in scored.items():
        (mine, my_answers), (theirs, their_answers) = champion[population], challenger[population]
        differ = np.flatnonzero(
            np.asarray(my_answers, dtype=object) != np.asarray(their_answers, dtype=object)
        )
        counts[population] = len(differ)
        asked = differ[:most]
        parts.append(
            pd.DataFrame(
                {
                    "sample_id": rows["sample_id"].to_numpy(dtype=object)[asked],
                    "population": population,
                    "position": np.arange(len(asked)),
                    "champion_output": _stored(mine[asked]),
                    "challenger_output": _stored(theirs[asked]),
                }
            )
        )
    filled = [part for part in parts if len(part)]
    drawn = DRAWN.check(pd.concat(filled, ignore_index=True)) if filled else DRAWN.empty()
    return Disagreements(
        drawn, {population: len(rows) for population, rows in scored.items()}, counts
    )


def _number(key: bytes, duel: str, group: str) -> int:
    digest = hmac.digest(key, f"{duel}:{group}".encode(), hashlib.sha256)
    return int.from_bytes(digest[:7], "big")


def _stored(outputs: np.ndarray) -> pd.Series:
    """Each row as a list of numbers: as JSON it comes back the same."""
    return pd.Series([[float(value) for value in row] for row in outputs], dtype=object)
