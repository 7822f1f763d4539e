"""How right is each consensus, in simulated crowds whose every mistake is known?

    .venv/bin/python benchmarks/crowds.py [--seeds 5] [--json] [--picture crowds.png]

Six people answer, each sample shown to some of them: careful (95 % right), sloppy (65 %), spammers
(one says anything, one mostly the same), confusers (careful, but of two classes they mostly say the
other). The model is a logistic regression on noisy features, out of fold, trained on the majority
labels of the same crowd: it inherits their errors and never sees a truth.

`right` counts what a method proposes, also where it would ask again (a tie counts as a guess among
the tied). The oracle knows every confusion matrix and how far the model is to be trusted: no method
can do better but by luck. `asked again` is the share that does not settle by SettlePolicy, and
`settled right` is how many of the others are right. Three to four minutes on one core.
"""

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

from labeling.consensus import METHODS
from labeling.consensus.settle import SettlePolicy, settle, weighted_votes
from labeling.consensus.votes import Votes, latest_answers, softmax

DEFAULT = SettlePolicy().method
CAREFUL, SLOPPY, CONFUSED, SPAM = 0.95, 0.65, 0.75, 0.8
SAMPLES, FEATURES = {10: 1000, 100: 2000}, {10: 8, 100: 16}
ANSWERS = ("1", "2", "3", "5", "1-5")
MIXES = {
    "careful": ["careful"] * 6,
    "sloppy": ["careful"] * 3 + ["sloppy"] * 3,
    "spammers": ["careful"] * 4 + ["spammer", "favourite"],
    "confusers": ["careful"] * 3 + ["confuser"] * 3,
    "mixed": ["careful"] * 2 + ["sloppy"] * 2 + ["spammer", "confuser"],
    "poor": ["careful"] + ["sloppy"] * 3 + ["spammer", "favourite"],
}
HARMLESS = ("careful", "confusers")  # mixes without a sloppy or spamming annotator
BINS = [0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0]
GOLD = 20  # answers of each person to gold, where there is any


@dataclass(frozen=True)
class World:
    """What people said, what the model said, and the truth."""

    answers: pd.DataFrame
    truth: pd.Series
    confusion: np.ndarray  # person, true class, class said
    probs: pd.DataFrame
    gold: pd.Series
    classes: list[str]

    def weighed(self, *, model: bool = True, gold: bool = False) -> tuple[Votes, np.ndarray]:
        """The evidence, and the number of the true class of each of its samples."""
        given = self.answers if gold else self.without_gold()
        evidence = weighted_votes(latest_answers(given), SettlePolicy(), **self.known(model, gold))
        return evidence, pd.Index(self.classes).get_indexer(pd.Index(self.truth[evidence.samples]))

    def without_gold(self) -> pd.DataFrame:
        """The answers to samples whose class is not known."""
        return self.answers[~self.answers["sample_id"].isin(self.gold.index)]

    def known(self, model: bool, gold: bool) -> dict:
        """What there is beside the answers, as `settle` takes it."""
        return {
            "classes": self.classes,
            "probs": self.probs if model else None,
            "gold": self.gold if gold else None,
        }


def main(words: list[str] | None = None) -> None:
    """Print the tables, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="a line of JSON for each run as well")
    parser.add_argument("--picture", type=Path, default=Path("crowds.png"))
    given = parser.parse_args(words)
    warnings.filterwarnings("ignore")
    started = time.perf_counter()
    rows, beliefs = [], []
    for row, belief in runs(given.seeds):
        rows.append(row)
        beliefs.append(belief)
        if given.json:
            print(json.dumps(row), flush=True)
    table = pd.DataFrame(rows)
    means = table.drop(columns="seed").groupby(["classes", "mix", "answers"], sort=False).mean()
    print_accuracy(means)
    print_settled(means)
    print_calibration(pd.concat(beliefs))
    print_gold(given.seeds)
    draw(means, pd.concat(beliefs), given.picture)
    print(f"{given.seeds} seeds in {time.perf_counter() - started:.0f} s")


def runs(seeds: int) -> Iterator[tuple[dict, pd.DataFrame]]:
    """The figures of each crowd and seed; the trust of each label, and whether it is right."""
    for classes in SAMPLES:
        for mix in MIXES:
            for answers in ANSWERS:
                for seed in range(seeds):
                    world = simulate(classes, mix, answers, seed=seed)
                    figures, belief = measure(world)
                    where = {"classes": classes, "mix": mix, "answers": answers, "seed": seed}
                    yield where | figures, belief


def measure(world: World) -> tuple[dict[str, float], pd.DataFrame]:
    """How right each method is, how much it asks again, and how right what it settles is."""
    evidence, truth = world.weighed()
    alone, _ = world.weighed(model=False)
    proposed = {name: method(evidence) for name, method in METHODS.items()}
    proposed["no model"] = METHODS[DEFAULT](alone)
    figures = {name: right(found, evidence, truth) for name, found in proposed.items()}
    figures["oracle"] = (oracle(evidence, world.confusion, truth).argmax(axis=1) == truth).mean()
    said = world.probs.loc[evidence.samples].to_numpy().argmax(axis=1)
    figures["model"] = (said == truth).mean()
    for name in METHODS:
        policy = SettlePolicy(method=name)
        labels = settle(world.without_gold(), policy, **world.known(model=True, gold=False))
        settled = labels[labels["label"].notna()].set_index("sample_id")
        figures[f"again {name}"] = 1 - len(settled) / len(labels)
        figures[f"settled {name}"] = (settled["label"] == world.truth[settled.index]).mean()
    figures = {name: float(value) for name, value in figures.items()}
    return figures, pd.concat(beliefs_of(proposed, world.truth))


def beliefs_of(proposed: dict[str, pd.DataFrame], truth: pd.Series) -> Iterator[pd.DataFrame]:
    """The trust of each label of each method, and whether it is right."""
    for name, found in proposed.items():
        found = found[found["label"].notna()]
        is_right = found["label"] == truth[found.index]
        yield pd.DataFrame({"method": name, "trust": found["trust"], "right": is_right})


def right(found: pd.DataFrame, evidence: Votes, truth: np.ndarray) -> float:
    """The share of right labels, a tie being a guess among the classes with the most votes."""
    votes = evidence.tally()
    leads = votes >= votes.max(axis=1, keepdims=True)
    guess = leads[np.arange(len(truth)), truth] / leads.sum(axis=1)
    names = np.array(evidence.classes, dtype=object)
    return float(np.where(found["label"].isna(), guess, found["label"] == names[truth]).mean())


def oracle(evidence: Votes, confusion: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The probabilities of the classes for one who knows all people and how good the model is."""
    probs = np.ones((len(truth), evidence.width)) if evidence.probs is None else evidence.probs
    spoken = np.zeros(probs.shape)
    said = np.log(confusion[evidence.annotator, :, evidence.class_index].clip(1e-12))
    np.add.at(spoken, evidence.sample, said)
    leaning = np.log(probs.clip(1e-6)) - np.log(probs.mean(axis=0).clip(1e-6))
    powers = np.linspace(0, 4, 41)
    fits = [
        np.log(softmax(power * leaning)[np.arange(len(truth)), truth]).sum() for power in powers
    ]
    return softmax(spoken + powers[int(np.argmax(fits))] * leaning)


def simulate(classes: int, mix: str, answers: str, *, seed: int) -> World:
    """A crowd at work; the same seed gives the same images to every crowd."""
    images = np.random.default_rng([seed, classes])
    rng = np.random.default_rng([seed, classes, list(MIXES).index(mix), ANSWERS.index(answers)])
    size = SAMPLES[classes] + GOLD
    centres = images.normal(size=(classes, FEATURES[classes]))
    truth = images.integers(classes, size=size)
    features = centres[truth] + images.normal(size=(size, FEATURES[classes]))
    confusion = np.array([PEOPLE[kind](classes, rng) for kind in MIXES[mix]])
    said = asked(size, len(confusion), answers, rng)
    chance = confusion[said["annotator"], truth[said["sample_id"]]].cumsum(axis=1)
    said["value"] = (rng.random((len(said), 1)) > chance).sum(axis=1).clip(max=classes - 1)
    return named(said, truth, features, confusion, rng)


def asked(size: int, people: int, answers: str, rng: np.random.Generator) -> pd.DataFrame:
    """Who sees which sample; everybody sees the last, the gold."""
    fewest, most = int(answers[0]), int(answers[-1])
    often = rng.integers(fewest, most, size=size, endpoint=True)
    often[-GOLD:] = people
    turns = rng.permuted(np.tile(np.arange(people), (size, 1)), axis=1)
    sample, turn = np.nonzero(np.arange(people) < often[:, None])
    return pd.DataFrame({"sample_id": sample, "annotator": turns[sample, turn]})


def named(
    said: pd.DataFrame,
    truth: np.ndarray,
    features: np.ndarray,
    confusion: np.ndarray,
    rng: np.random.Generator,
) -> World:
    """Names in place of numbers, and a model."""
    classes = [f"class {k:02}" for k in range(confusion.shape[1])]
    samples = pd.Index([f"sample {i:05}" for i in range(len(truth))], name="sample_id")
    answers = pd.DataFrame(
        {
            "seq": np.arange(len(said)),
            "sample_id": samples[said["sample_id"]],
            "annotator": [f"person {who}" for who in said["annotator"]],
            "value": np.array(classes, dtype=object)[said["value"]],
        }
    )
    truths = pd.Series(np.array(classes, dtype=object)[truth], index=samples)
    gold = slice(len(truth) - GOLD, None)
    probs = guesses(features[:-GOLD], votes_of(said, len(truth), len(classes))[:-GOLD], rng)
    table = pd.DataFrame(probs, index=samples[:-GOLD], columns=classes)
    return World(answers, truths, confusion, table, truths.iloc[gold], classes)


def votes_of(said: pd.DataFrame, size: int, classes: int) -> np.ndarray:
    """How often each class was named for each sample."""
    votes = np.zeros((size, classes))
    np.add.at(votes, (said["sample_id"], said["value"]), 1)
    return votes


def guesses(features: np.ndarray, votes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Out-of-fold probabilities of a model trained on the majority labels."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import KFold

    labels = (votes + 0.001 * rng.random(votes.shape)).argmax(axis=1)
    probs = np.zeros(votes.shape)
    for seen, unseen in KFold(3).split(features):
        model = LogisticRegression(C=0.3, max_iter=60).fit(features[seen], labels[seen])
        probs[np.ix_(unseen, model.classes_)] = model.predict_proba(features[unseen])
    return probs


def coin(classes: int, accuracy: float) -> np.ndarray:
    """Somebody who is right so often, whose mistakes are any other class."""
    matrix = np.full((classes, classes), (1 - accuracy) / (classes - 1))
    np.fill_diagonal(matrix, accuracy)
    return matrix


def favourite(classes: int, rng: np.random.Generator) -> np.ndarray:
    """A spammer who mostly presses the same key, whatever is shown."""
    row = np.full(classes, (1 - SPAM) / (classes - 1))
    row[rng.integers(classes)] = SPAM
    return np.tile(row, (classes, 1))


def confuser(classes: int, rng: np.random.Generator) -> np.ndarray:
    """Somebody careful who says the other one of two classes."""
    matrix = coin(classes, CAREFUL)
    one, other = rng.choice(classes, 2, replace=False)
    for shown, taken_for in ((one, other), (other, one)):
        matrix[shown, shown] -= CONFUSED
        matrix[shown, taken_for] += CONFUSED
    return matrix


PEOPLE: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "careful": lambda classes, rng: coin(classes, CAREFUL),
    "sloppy": lambda classes, rng: coin(classes, SLOPPY),
    "spammer": lambda classes, rng: coin(classes, 1 / classes),
    "favourite": favourite,
    "confuser": confuser,
}


def print_accuracy(means: pd.DataFrame) -> None:
    """Right labels by method, and whether the default beats majority where it must."""
    columns = ["model", *METHODS, "no model", "oracle"]
    print("right, mean over seeds (`no model`: the default without probabilities)")
    print(means[columns].round(3).to_string(), "\n")
    must = means[~means.index.get_level_values("mix").isin(HARMLESS)]
    for name, rows in (("with a sloppy or spamming annotator", must), ("all", means)):
        won = (rows[DEFAULT] > rows["majority"]).sum()
        gained = (rows[DEFAULT] - rows["majority"]).mean()
        short = (rows["oracle"] - rows[DEFAULT]).mean()
        print(
            f"{name}: {DEFAULT} beats majority in {won} of {len(rows)} crowds, by {gained:.3f} in "
            f"the mean, and is {short:.3f} below the oracle"
        )
    lost = means[means[DEFAULT] <= means["majority"]]
    for where, row in lost.iterrows():
        print(f"  not in {where}: {row[DEFAULT]:.4f} against {row['majority']:.4f}")
    print()


def print_settled(means: pd.DataFrame) -> None:
    """What is asked again at the default threshold, and how right the rest is."""
    columns = [f"{what} {name}" for what in ("again", "settled") for name in METHODS]
    print("asked again at the default threshold, and right of what settles")
    print(means[columns].round(3).to_string(), "\n")


def print_calibration(beliefs: pd.DataFrame) -> None:
    """How often labels of about the same trust are right, all crowds together."""
    print("trust, and how often labels of that trust are right (labels)")
    for name, own in beliefs.groupby("method", sort=False):
        cells = own.groupby(pd.cut(own["trust"], BINS), observed=True)
        words = [
            f"{cell['trust'].mean():.3f}: {cell['right'].mean():.3f} ({len(cell)})"
            for _, cell in cells
        ]
        print(f"{name:12} {'  '.join(words)}")
    print()


def print_gold(seeds: int) -> None:
    """What gold adds where nothing else does: one answer each and no model."""
    print(
        f"one answer each, no model, 10 classes: without gold, and with {GOLD} answers each to it"
    )
    for mix in MIXES:
        cells = [gold_row(simulate(10, mix, "1", seed=seed)) for seed in range(seeds)]
        trust, again, settled = np.mean([row for row, _ in cells], axis=0).T
        print(
            f"{mix:10} right {np.mean([share for _, share in cells]):.3f}  trust {trust[0]:.3f} -> "
            f"{trust[1]:.3f}  asked again {again[0]:.3f} -> {again[1]:.3f}  settled right "
            f"{settled[0]:.3f} -> {settled[1]:.3f}"
        )
    print()


def gold_row(world: World) -> tuple[list[list[float]], float]:
    """Mean trust, share asked again and right of the settled, without gold and with; and right."""
    cells = []
    for gold in (False, True):
        given = world.answers if gold else world.without_gold()
        labels = settle(given, SettlePolicy(), **world.known(False, gold)).set_index("sample_id")
        settled = labels[labels["label"].notna()]
        is_right = settled["label"] == world.truth[settled.index]
        cells.append([labels["trust"].mean(), 1 - len(settled) / len(labels), is_right.mean()])
    evidence, truth = world.weighed(model=False)
    return cells, right(METHODS[DEFAULT](evidence), evidence, truth)


def draw(means: pd.DataFrame, beliefs: pd.DataFrame, path: Path) -> None:
    """Accuracy by answers for each crowd, and the calibration of each method."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(3, len(MIXES), figsize=(18, 9), layout="constrained")
    for row, classes in enumerate(SAMPLES):
        for axis, mix in zip(axes[row], MIXES, strict=True):
            here = means.xs(classes, level="classes").xs(mix, level="mix")
            for name in [*METHODS, "oracle"]:
                style = "k--" if name == "oracle" else ".-"
                axis.plot(ANSWERS, here[name], style, label=name, lw=2 if name == DEFAULT else 1)
            axis.set_title(f"{mix}, {classes} classes")
    axes[0, 0].legend()
    axes[0, 0].set_ylabel("right, by answers each")
    for axis, (method, own) in zip(axes[2], beliefs.groupby("method", sort=False), strict=False):
        cells = own.groupby(pd.cut(own["trust"], [k / 10 for k in range(11)]), observed=True)
        axis.plot([0, 1], [0, 1], "k:")
        axis.plot(cells["trust"].mean(), cells["right"].mean(), "o-")
        axis.set_title(f"trust of {method}, and right")
    axes[2, -1].axis("off")
    figure.savefig(path)
    print(f"drawn in {path}")


if __name__ == "__main__":
    main()
