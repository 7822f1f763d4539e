"""A Bayesian variant of Dawid-Skene: a consensus of the answers, the model's prediction and gold.

How it differs from the textbook method:
- An answer has no part in the estimate by which it is weighed. The reliability of an annotator is
  learned from all their *other* answers (collapsed variational Bayes, CVB0), so that one answer of
  an annotator nothing is known about is worth exactly what is assumed of such an annotator.
- An annotator starts with one accuracy, shrunk towards the assumed one, and a distribution of
  mistakes (a spammer's favourite class); a row of their confusion matrix departs from that only as
  answers to that class accumulate. With a hundred classes most rows never do.
- The model's probabilities count as one more annotator, raised to a power that is fitted, first to
  annotators as they are assumed to be: an overconfident model is flattened, a useless one ignored.
- The only answer to a sample teaches nothing about its author, unless annotators differ, by more
  than chance, in how far the model agrees with them. With one annotator it cannot be decided
  whether they or the model err; with several, the model shows who errs more.

The strengths below are in answers; benchmarks/crowds.py is where they were chosen.
"""

import numpy as np
import pandas as pd

from labeling.consensus.votes import Votes, softmax

ACCURACY = 20.0  # the assumed accuracy weighs as much: one disagreement changes little
ROW = 64.0  # a class needs about so many answers before its own confusions are believed
HABIT = 20.0  # mistakes by which all wrong classes are equally likely at first
FREQUENCY = 10.0  # samples added to each class: rare classes stay possible
CALIBRATION = 4.0  # how strongly the power of the model's probabilities is held at 1
DOUBT = 0.001  # chance that the model's probabilities mean nothing: a 1.0 does not decide
SHARPEST = 4.0  # the largest power for them
CHANCE = 2.0  # differences between annotators this many times what chance makes are still chance
PATIENCE, ROUNDS = 5, 70  # rounds in which the model alone is fitted, and in all
CLOSE = 1e-3  # no probability moved further than this: done


def bayes(evidence: Votes) -> pd.DataFrame:
    """The most likely class of each sample and its probability; it may be one that nobody named."""
    crowd, model = _Crowd(evidence), _Model(evidence)
    belief = np.zeros((len(evidence.samples), evidence.width))
    frequency = np.full(belief.shape, -np.log(evidence.width))
    per_answer = crowd.assumed_per_answer()
    for turn in range(ROUNDS):
        expected = softmax(frequency + model.log_odds())
        fresh = softmax(frequency + model.log_odds() + crowd.log_likelihood(per_answer))
        moved = np.abs(evidence.settle_known(fresh) - belief).max(initial=0)
        belief = fresh
        if turn > PATIENCE and moved < CLOSE:
            break
        confirmed = crowd.confirmed(expected, model.has_probs)
        if turn >= PATIENCE:
            per_answer = crowd.learned_per_answer(belief, confirmed)
        model.fit(belief, expected)
        frequency = _frequency(belief, confirmed)
    return evidence.proposals(belief)


def _frequency(belief: np.ndarray, confirmed: np.ndarray) -> np.ndarray:
    """How frequent each class is among all samples but one's own, as logs; a row per sample."""
    own = confirmed[:, None] * belief
    counts = FREQUENCY + own.sum(axis=0) - own
    return np.asarray(np.log(counts / counts.sum(axis=1, keepdims=True)))


class _Crowd:
    """The likelihood of each class by the answers, given how their authors answer elsewhere."""

    def __init__(self, evidence: Votes) -> None:
        from scipy.sparse import csr_matrix

        self._evidence = evidence
        self._annotator, self._named, self._which = evidence.annotator_class_pairs()
        count, samples = len(evidence.class_index), len(evidence.samples)
        self._each = np.arange(count)
        places = evidence.sample, self._each
        self._answers_of_samples = csr_matrix((np.ones(count), places), (samples, count))
        here = self._which, self._each
        self._place = csr_matrix((np.ones(count), here), (len(self._annotator), count))
        self._expected = evidence.expected_accuracy()[evidence.annotator]
        answers = np.bincount(evidence.sample, minlength=samples)
        self._is_confirmed = (answers > 1) | (evidence.known >= 0)

    def confirmed(self, expected: np.ndarray, has_probs: np.ndarray) -> np.ndarray:
        """Per sample, how far other evidence makes its answers informative about their authors.

        1 with two annotators or gold. With a model alone, the share of the differences between them
        (in what the model `expected` of the class they named) that chance does not explain.
        """
        alone = (has_probs & ~self._is_confirmed)[self._evidence.sample]
        who, named = self._evidence.annotator[alone], self._evidence.class_index[alone]
        agreed = expected[self._evidence.sample[alone], named]
        answers = np.bincount(who, minlength=len(self._evidence.annotators))
        n_annotators = np.count_nonzero(answers)
        if n_annotators < 2 or len(who) == n_annotators:
            return self._is_confirmed.astype(float)
        mean = np.bincount(who, agreed, minlength=len(answers)) / answers.clip(min=1)
        within = ((agreed - mean[who]) ** 2).sum() / (len(who) - n_annotators)
        between = (answers * (mean - agreed.mean()) ** 2).sum() / (n_annotators - 1)
        explained = 1 - CHANCE * within / between if between > CHANCE * within else 0.0
        return np.where(self._is_confirmed, 1.0, explained * has_probs)

    def assumed_per_answer(self) -> np.ndarray:
        """Per answer, the log-likelihood of each class by what is expected of its author."""
        width = self._evidence.width
        mistake = (1 - self._expected) / (width - 1)
        per_answer = np.repeat(np.log(mistake)[:, None], width, axis=1)
        per_answer[self._each, self._evidence.class_index] = np.log(self._expected)
        return per_answer

    def log_likelihood(self, per_answer: np.ndarray) -> np.ndarray:
        """Per sample, the log-likelihood of each class by all its answers."""
        return np.asarray(self._answers_of_samples @ per_answer)

    def learned_per_answer(self, belief: np.ndarray, confirmed: np.ndarray) -> np.ndarray:
        """Per answer, the log-likelihood of each class by how its author answers elsewhere."""
        own = confirmed[self._evidence.sample, None] * belief[self._evidence.sample]
        counts = np.asarray(self._place @ own)  # by (annotator, class named) and true class
        totals = self._by_annotator(counts)  # by annotator and true class
        likely = self._habits(counts, own)
        likely *= ROW
        likely += counts[self._which]
        likely -= own
        likely /= ROW + totals[self._evidence.annotator] - own
        return np.asarray(np.log(likely, out=likely))

    def _habits(self, counts: np.ndarray, own: np.ndarray) -> np.ndarray:
        """Per answer, the likelihood of each class by its author's accuracy and usual mistakes."""
        evidence, width = self._evidence, self._evidence.width
        annotator, named = evidence.annotator, evidence.class_index
        right = counts[np.arange(len(counts)), self._named]
        wrong = counts.sum(axis=1) - right
        own_right = own[self._each, named]
        own_wrong = own.sum(axis=1) - own_right
        was_right = self._by_annotator(right)[annotator] - own_right
        was_wrong = self._by_annotator(wrong)[annotator] - own_wrong
        accuracy = (ACCURACY * self._expected + was_right) / (ACCURACY + was_right + was_wrong)
        this_one = (HABIT / width + wrong[self._which] - own_wrong) / (HABIT + was_wrong)
        mistake = (1 - accuracy) * this_one * width / (width - 1)
        likely = np.repeat(mistake[:, None], width, axis=1)
        likely[self._each, named] = accuracy
        return likely

    def _by_annotator(self, counts: np.ndarray) -> np.ndarray:
        total = np.zeros((len(self._evidence.annotators), *counts.shape[1:]))
        np.add.at(total, self._annotator, counts)
        return total


class _Model:
    """The model's probabilities, raised to a power that is fitted to the consensus."""

    def __init__(self, evidence: Votes) -> None:
        self._power = 1.0
        self.has_probs = np.zeros(len(evidence.samples), dtype=bool)
        self._leaning = np.zeros((len(evidence.samples), evidence.width))
        if evidence.probs is None:
            return
        self.has_probs = ~np.isnan(evidence.probs).any(axis=1)
        probs = (1 - DOUBT) * evidence.probs[self.has_probs] + DOUBT / evidence.width
        # Against its own mean: what it knows beyond how frequent it takes the classes to be.
        self._leaning[self.has_probs] = np.log(probs) - np.log(probs.mean(axis=0))

    def log_odds(self) -> np.ndarray:
        """Per sample, the log-odds of each class by the model; 0 where it has none."""
        return self._power * self._leaning

    def fit(self, belief: np.ndarray, expected: np.ndarray) -> None:
        """Take one Newton step of the power, from what the model predicted to `belief`."""
        mean = (expected * self._leaning).sum(axis=1, keepdims=True)
        slope = ((belief - expected) * self._leaning).sum() - CALIBRATION * (self._power - 1)
        bend = (expected * (self._leaning - mean) ** 2).sum() + CALIBRATION
        self._power = float(np.clip(self._power + slope / bend, 0.0, SHARPEST))
