"""One strategy on one problem: choose, label, train, measure, and again."""

import time
from typing import Any

import numpy as np

from benchmarks.labels import oracle
from benchmarks.labels.head import Head, Learner
from benchmarks.labels.peers import PEERS
from benchmarks.labels.questions import Answer, Question, at_random, ours, within
from benchmarks.labels.regimes import Problem
from labeling.strategies import STRATEGIES

# Four plays of random choice on each pool: with ten pools, forty.
RANDOM = ("random", "random 2", "random 3", "random 4")
ORACLE = "oracle"
SINGLE = tuple(name for name in STRATEGIES if name not in ("random", "auto"))
NAMES = (*RANDOM, "auto", *SINGLE, *PEERS, ORACLE)


def play(problem: Problem, name: str, seed: int, seconds: float) -> dict[str, Any]:
    """The accuracy at every number of labels, or why the strategy cannot be played."""
    choose, head = _answer(problem, name), Head(problem.class_count)
    marks = problem.marks if name not in RANDOM[1:] else ()
    learner = Learner(problem) if marks else None
    labelled, rng = problem.start, _generator(name, seed)
    steps = [*problem.steps, *(problem.beyond if name in RANDOM else ())]
    accuracies, durations, learnt = [], [], {}
    for labels, after in zip(steps, [*steps[1:], 0], strict=True):
        head.fit(problem.features[labelled], problem.classes[labelled])
        accuracies.append(round(head.accuracy(problem.test_features, problem.test_classes), 5))
        if learner and labels in marks:
            learnt[labels] = round(learner.accuracy(labelled), 5)
        if not after:
            break
        size = after - labels
        question = _question(problem, head, labelled, size, int(rng.integers(2**31)))
        began = time.process_time()
        try:
            chosen = within(seconds, choose, question)
        except Exception as error:  # a peer may fail in any way; that it did is the finding
            return {"refused": f"{type(error).__name__}: {error}"[:300], "labels_then": labels}
        durations.append(time.process_time() - began)
        if len(np.unique(chosen)) != size:
            return {"refused": f"gave {len(np.unique(chosen))} samples instead of {size}"}
        labelled = np.concatenate([labelled, question.rows[chosen]])
    return {
        "labels": steps,
        "accuracy": accuracies,
        "student": learnt,  # by labels: the same labels and the pool, by the product's learner
        "seconds": round(float(np.mean(durations)), 4),
        "chosen": np.bincount(problem.classes[labelled], minlength=head.classes).tolist(),
    }


def _generator(name: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, RANDOM.index(name) if name in RANDOM else 0])


def _question(problem: Problem, head: Head, labelled: np.ndarray, size: int, seed: int) -> Question:
    is_free = np.ones(len(problem.classes), bool)
    is_free[labelled] = False
    rows = np.flatnonzero(is_free)
    labels = problem.classes[labelled]
    return Question(head, rows, problem.features, problem.features[labelled], labels, size, seed)


def _answer(problem: Problem, name: str) -> Answer:
    """What answers the questions of this strategy."""
    if name == ORACLE:
        return lambda question: oracle.greedy(
            question.free,
            problem.classes[question.rows],
            question.labelled,
            question.labels,
            question.size,
            np.random.default_rng(question.seed),
        )
    if name in RANDOM:
        return at_random
    return PEERS[name] if name in PEERS else ours(name)
