"""The words that the ledger stores: why a sample is asked, what an answer is, how it ended."""

from enum import StrEnum

PROJECT = "label-studio:"  # begins the source of a Label Studio project's answers; its id follows


class Reason(StrEnum):
    """Why a sample is in a batch, beside the name of the strategy that chose it."""

    AUDIT = "audit"  # drawn at random with known probability; never trained on
    RANDOM = "random"  # drawn at random, to compare chosen samples with
    NAMED = "named"  # asked for by its id
    QUOTA = "quota"  # a place for a predicted class
    FRESH = "fresh"  # came in recently
    SERVED = "served"  # from served traffic
    DRIFT = "drift"  # moved most in traffic that drifted
    DRIFTED = "drifted"  # drawn at random from traffic that drifted
    REFERRED = "referred"  # its answer in service was marked for a person
    SHADOW = "shadow"  # champion and challenger answered it differently in a trial
    GOLD = "gold"  # its label is known: checks annotators
    REVIEW = "review"  # its label looks wrong
    RELABEL = "relabel"  # one more answer teaches more than a new sample would
    DUEL = "duel"  # drawn among what challenger and champion answer differently


RELABEL_REASONS = (Reason.REVIEW, Reason.RELABEL)  # about a sample that has a label
RANDOM_REASONS = (Reason.AUDIT, Reason.RANDOM, Reason.GOLD)  # independent of the model
# An answer given in another round does not end these: the question is asked for its own sake.
ASKED_FOR_ITSELF = (Reason.GOLD, *RELABEL_REASONS)


class Split(StrEnum):
    """The part of a snapshot that a row belongs to."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"  # audit samples: measured on, never trained on
    HELD = "held"  # gold, and near-duplicates of audit and gold samples
    SOFT = "soft"  # pseudo-labels


LEARNT_FROM = (Split.TRAIN, Split.VAL, Split.SOFT)  # what a model knows, so never measured on


class AnswerKind(StrEnum):
    """What an answer is."""

    ANSWER = "answer"
    SKIP = "skip"
    FINAL = "verdict"  # an adjudicator's final word; the stored word is part of answers' digests


class Outcome(StrEnum):
    """How an assignment ended."""

    LABELLED = "labelled"
    SKIPPED = "skipped"
    DELETED = "deleted"  # its task was deleted in Label Studio


class SampleState(StrEnum):
    """Where a sample stands; the first that applies."""

    LABELLED = "labelled"  # has a label in force
    OPEN = "open"  # before annotators
    SKIPPED = "skipped"  # somebody skipped it, it is not asked about again
    HELD = "held"  # near-duplicate of an audit sample
    POOL = "pool"  # may be asked about


class Origin(StrEnum):
    """Where a sample came from."""

    INGEST = "ingest"
    SERVED = "served"
