"""Dawid-Skene with manners: a Bayesian consensus of the answers, the model's guess and gold.

What makes it sound where the textbook method is not:
- Nobody is a witness to their own reliability. How somebody answers is learned from all their
  answers *but the one being weighed* (collapsed variational Bayes, CVB0), so one answer of a person
  nothing is known about is worth exactly what is assumed of such a person.
- A person is first one accuracy, shrunk towards the assumed one, with a habit of mistakes (a
  spammer's favourite class); a row of their confusion matrix departs from that only as answers
  to that class pile up. With a hundred classes most rows never do.
- The model's probabilities are one more witness, raised to a power that is fitted, first to people
  as they are assumed to be: an overconfident model is flattened, a useless one is not heard.
- An answer that stands alone teaches nothing about its author, unless people differ, by more than
  chance, in how far the model agrees with them. Of one person alone nobody can say whether they or
  the model err; of several, the model can say who errs more.

The strengths below are in answers; benchmarks/crowds.py is where they were chosen.
"""

import numpy as np
import pandas as pd

from labeling.consensus.votes import Votes, softmax

ACCURACY = 20.0  # the assumed accuracy weighs as much: one quarrel does not unsettle a stranger
ROW = 64.0  # a class needs about so many answers before its own confusions are believed
HABIT = 20.0  # mistakes that speak for mistakes being any class alike
FREQUENCY = 10.0  # samples of each class taken as seen: keeps rare classes alive
CALIBRATION = 4.0  # how strongly the model's probabilities are first taken at their word
DOUBT = 0.001  # chance that the model's probabilities mean nothing: a 1.0 does not out-shout all
SHARPEST = 4.0  # the largest power for them
CHANCE = 2.0  # differences between people this many times what chance makes are still chance
PATIENCE, ROUNDS = 5, 70  # rounds in which the model alone is fitted, and in all
CLOSE = 1e-3  # no probability moved further than this: done


def bayes(evidence: Votes) -> pd.DataFrame:
    """The most likely class of each sample and its probability; it may be one that nobody named."""
    crowd, model = _Crowd(evidence), _Model(evidence)
    belief = np.zeros((len(evidence.samples), evidence.width))
    frequency = np.full(belief.shape, -np.log(evidence.width))
    words = crowd.first_words()
    for turn in range(ROUNDS):
        expected = softmax(frequency + model.says())
        fresh = softmax(frequency + model.says() + crowd.heard(words))
        moved = np.abs(evidence.settle_known(fresh) - belief).max(initial=0)
        belief = fresh
        if turn > PATIENCE and moved < CLOSE:
            break
        confirmed = crowd.confirmed(expected, model.speaks)
        if turn >= PATIENCE:
            words = crowd.words(belief, confirmed)
        model.fit(belief, expected)
        frequency = _frequency(belief, confirmed)
    return evidence.proposals(belief)


def _frequency(belief: np.ndarray, confirmed: np.ndarray) -> np.ndarray:
    """How frequent each class is among all samples but one's own, as logs; a row per sample."""
    own = confirmed[:, None] * belief
    seen = FREQUENCY + own.sum(axis=0) - own
    return np.asarray(np.log(seen / seen.sum(axis=1, keepdims=True)))


class _Crowd:
    """What answers say about classes, given how their authors answer elsewhere."""

    def __init__(self, evidence: Votes) -> None:
        from scipy.sparse import csr_matrix

        self._evidence = evidence
        self._person, self._named, self._which = evidence.annotator_class_pairs()
        count, samples = len(evidence.class_index), len(evidence.samples)
        self._each = np.arange(count)
        places = evidence.sample, self._each
        self._hear = csr_matrix((np.ones(count), places), (samples, count))
        here = self._which, self._each
        self._place = csr_matrix((np.ones(count), here), (len(self._person), count))
        self._expected = evidence.expected_accuracy()[evidence.person]
        answers = np.bincount(evidence.sample, minlength=samples)
        self._is_confirmed = (answers > 1) | (evidence.known >= 0)

    def confirmed(self, expected: np.ndarray, speaks: np.ndarray) -> np.ndarray:
        """Per sample, how far somebody else's word makes its answers a lesson about their authors.

        1 with two people or gold. With a model alone, the share of the differences between people
        (in what the model `expected` of the class they named) that chance does not explain.
        """
        alone = (speaks & ~self._is_confirmed)[self._evidence.sample]
        who, named = self._evidence.person[alone], self._evidence.class_index[alone]
        agreed = expected[self._evidence.sample[alone], named]
        answers = np.bincount(who, minlength=len(self._evidence.people))
        people = np.count_nonzero(answers)
        if people < 2 or len(who) == people:
            return self._is_confirmed.astype(float)
        mean = np.bincount(who, agreed, minlength=len(answers)) / answers.clip(min=1)
        within = ((agreed - mean[who]) ** 2).sum() / (len(who) - people)
        between = (answers * (mean - agreed.mean()) ** 2).sum() / (people - 1)
        told_apart = 1 - CHANCE * within / between if between > CHANCE * within else 0.0
        return np.where(self._is_confirmed, 1.0, told_apart * speaks)

    def first_words(self) -> np.ndarray:
        """Per answer, the log-likelihood of each class by what is expected of its author."""
        width = self._evidence.width
        mistake = (1 - self._expected) / (width - 1)
        words = np.repeat(np.log(mistake)[:, None], width, axis=1)
        words[self._each, self._evidence.class_index] = np.log(self._expected)
        return words

    def heard(self, words: np.ndarray) -> np.ndarray:
        """Per sample, the log-likelihood of each class by all its answers."""
        return np.asarray(self._hear @ words)

    def words(self, belief: np.ndarray, confirmed: np.ndarray) -> np.ndarray:
        """Per answer, the log-likelihood of each class by how its author answers elsewhere."""
        own = confirmed[self._evidence.sample, None] * belief[self._evidence.sample]
        counts = np.asarray(self._place @ own)  # by (person, class named) and true class
        totals = self._by_person(counts)  # by person and true class
        likely = self._habits(counts, own)
        likely *= ROW
        likely += counts[self._which]
        likely -= own
        likely /= ROW + totals[self._evidence.person] - own
        return np.asarray(np.log(likely, out=likely))

    def _habits(self, counts: np.ndarray, own: np.ndarray) -> np.ndarray:
        """Per answer, the likelihood of each class by its author's accuracy and usual mistakes."""
        evidence, width = self._evidence, self._evidence.width
        person, named = evidence.person, evidence.class_index
        right = counts[np.arange(len(counts)), self._named]
        wrong = counts.sum(axis=1) - right
        own_right = own[self._each, named]
        own_wrong = own.sum(axis=1) - own_right
        was_right = self._by_person(right)[person] - own_right
        was_wrong = self._by_person(wrong)[person] - own_wrong
        accuracy = (ACCURACY * self._expected + was_right) / (ACCURACY + was_right + was_wrong)
        this_one = (HABIT / width + wrong[self._which] - own_wrong) / (HABIT + was_wrong)
        mistake = (1 - accuracy) * this_one * width / (width - 1)
        likely = np.repeat(mistake[:, None], width, axis=1)
        likely[self._each, named] = accuracy
        return likely

    def _by_person(self, counts: np.ndarray) -> np.ndarray:
        total = np.zeros((len(self._evidence.people), *counts.shape[1:]))
        np.add.at(total, self._person, counts)
        return total


class _Model:
    """What the model's probabilities say, by a power that is fitted to what turns out."""

    def __init__(self, evidence: Votes) -> None:
        self._power = 1.0
        self.speaks = np.zeros(len(evidence.samples), dtype=bool)
        self._leaning = np.zeros((len(evidence.samples), evidence.width))
        if evidence.probs is None:
            return
        self.speaks = ~np.isnan(evidence.probs).any(axis=1)
        probs = (1 - DOUBT) * evidence.probs[self.speaks] + DOUBT / evidence.width
        # Against its own mean: what it says beyond how frequent it takes the classes to be.
        self._leaning[self.speaks] = np.log(probs) - np.log(probs.mean(axis=0))

    def says(self) -> np.ndarray:
        """Per sample, the log-odds of each class by the model; 0 where it is silent."""
        return self._power * self._leaning

    def fit(self, belief: np.ndarray, expected: np.ndarray) -> None:
        """Take one Newton step of the power, from what the model made us expect to `belief`."""
        mean = (expected * self._leaning).sum(axis=1, keepdims=True)
        slope = ((belief - expected) * self._leaning).sum() - CALIBRATION * (self._power - 1)
        bend = (expected * (self._leaning - mean) ** 2).sum() + CALIBRATION
        self._power = float(np.clip(self._power + slope / bend, 0.0, SHARPEST))
