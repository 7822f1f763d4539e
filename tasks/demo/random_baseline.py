"""The comparison that keeps the claim honest: the same budget chosen at random, trained the same.

It stands outside the ledger: its labels come from the same annotators, under the same rule, and
it is scored on the same audit rows, but nothing of it is kept.
"""

from pathlib import Path

import pandas as pd

from labeling import simulation
from labeling.consensus.settle import SettlePolicy, settle
from labeling.snapshots.publish import SnapshotConfig, split
from models.network.network import NetworkConfig
from models.training.config import TrainConfig


def baseline_table(
    audit: pd.DataFrame, labelled: pd.DataFrame, config: SnapshotConfig
) -> pd.DataFrame:
    """A training table like a snapshot's: the given labels, and the audit rows as the test."""
    table = pd.concat([labelled.assign(audit=False), audit.assign(audit=True)], ignore_index=True)
    table["split"] = split(table.assign(gold=False), config)
    return table


def label_random(
    asked: pd.DataFrame, root: Path, classes: list[str], policy: SettlePolicy
) -> pd.DataFrame:
    """`asked` with the labels that the simulated annotators settle on, as in a round."""
    truths, annotators, seed = simulation.load_simulation(root)
    labels: dict[str, str] = {}
    trust: dict[str, float] = {}
    unlabelled = truths[truths.index.isin(asked["sample_id"])]
    for attempt in range(simulation.ATTEMPTS):
        given = simulation.simulate_answers(
            unlabelled, classes, annotators, seed=seed, attempt=attempt
        )
        settled = settle(given.assign(seq=range(len(given))), policy)
        settled = settled[settled["label"].notna()]
        labels |= dict(zip(settled["sample_id"], settled["label"], strict=True))
        trust |= dict(zip(settled["sample_id"], settled["trust"], strict=True))
        unlabelled = unlabelled[~unlabelled.index.isin(list(labels))]
        if unlabelled.empty:
            break
    table = asked[asked["sample_id"].isin(list(labels))].copy()
    table["label"] = table["sample_id"].map(labels)
    table["trust"] = table["sample_id"].map(trust)
    return table


def baseline_accuracy(
    table: pd.DataFrame,
    shards: Path,
    classes: list[str],
    *,
    image_size: int,
    network: NetworkConfig,
    config: TrainConfig,
    threads: int,
) -> float:
    """Accuracy on the audit rows after training on a random table; runs in its own process."""
    from models.scoring.predict import predict_table
    from models.training.train import train

    trained = train(table, shards, classes, image_size, config, network=network, threads=threads)
    test = table[table["split"] == "test"].reset_index(drop=True)
    outputs = predict_table(trained.network, test, shards, image_size, threads=threads).outputs
    credit = trained.network.kind.credit(outputs, test["label"].tolist(), classes)
    return float(credit.mean())
