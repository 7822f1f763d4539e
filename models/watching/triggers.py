"""When to retrain: the causes that the policy combines, and what a training waits for. Pure."""

from dataclasses import dataclass

from core.text import counted

NEVER = "never"
CAUSES = ("drift", "drift and decay", "drift or decay", NEVER)


@dataclass(frozen=True)
class RetrainFacts:
    """What is known when a check decides whether a training is due."""

    drift: bool = False  # an incident of drift is open
    decay: bool | None = None  # None: no outcomes to tell by
    age_days: float | None = None  # of the champion, since its release
    round_id: str | None = None  # that answers the drift
    asked: int = 0
    answered: int = 0
    untrained: str | None = None  # the newest snapshot, when no model was trained on it
    snapshot_has_answers: bool = False  # it was cut after the drift's answers came
    changed_labels: int = 0  # since the newest snapshot
    hours_since_training: float | None = None
    unpaid: str | None = None  # why a batch that answers the drift cannot be paid for


@dataclass(frozen=True)
class Retraining:
    """Whether a training is due, and the sentence that says why or why not."""

    due: bool
    sentence: str
    waits_for: str | None = None  # when there is a cause and something is missing


def retraining(
    facts: RetrainFacts, *, retrain_when: str, max_model_age_days: float, cooldown_hours: float
) -> Retraining:
    """Whether a training is due by the policy's causes, and what it waits for where it is not."""
    cause, missing = _cause(facts, retrain_when, max_model_age_days)
    if cause is None:
        return Retraining(False, missing)
    since = facts.hours_since_training
    if since is not None and since < cooldown_hours:
        sentence = f"{cause}, but {since:.1f} h since the last training, {cooldown_hours:g} h apart"
        return Retraining(False, sentence, f"{cooldown_hours - since:.1f} h to pass")
    by_drift = facts.drift and retrain_when != NEVER
    wanted = missing_answers(facts) if by_drift else _missing_labels(facts)
    if wanted:
        return Retraining(False, f"{cause}; it waits for {wanted}", wanted)
    return Retraining(True, f"{cause}, and {facts.untrained} has new labels to learn from")


def _cause(
    facts: RetrainFacts, retrain_when: str, max_model_age_days: float
) -> tuple[str | None, str]:
    """The cause of a training; without one None, and the sentence that says what is not met."""
    decay = {None: "decay is not known", True: "decay", False: "no decay"}[facts.decay]
    drift = "drift" if facts.drift else "no drift"
    met = {
        NEVER: False,
        "drift": facts.drift,
        "drift and decay": facts.drift and facts.decay is True,
        "drift or decay": facts.drift or facts.decay is True,
    }[retrain_when]
    if met:
        return f"{drift}, {decay} (retrain_when is {retrain_when!r})", ""
    age = facts.age_days
    if max_model_age_days and age is not None and age >= max_model_age_days:
        return f"the model is {age:.0f} days old, {max_model_age_days:g} at most", ""
    limit = f"at most {max_model_age_days:g}" if max_model_age_days else "any age is allowed"
    old = "" if age is None else f"; the model is {age:.1f} days old, {limit}"
    return None, f"{drift}, {decay} (retrain_when is {retrain_when!r}){old}"


def missing_answers(facts: RetrainFacts) -> str | None:
    """What a training on drift waits for: the answers about what drifted, in a snapshot."""
    if facts.round_id is None:
        return f"labels: {facts.unpaid}" if facts.unpaid else "the round that asks about it"
    if facts.answered < facts.asked:
        return f"the answers of {facts.round_id}, {facts.answered} of {facts.asked} are there"
    if facts.untrained is None or not facts.snapshot_has_answers:
        return f"a snapshot with the answers of {facts.round_id}: `hone collect` cuts it"
    return None


def _missing_labels(facts: RetrainFacts) -> str | None:
    if facts.untrained is None:
        changed = counted(facts.changed_labels, "label")
        return f"a snapshot with new labels ({changed} changed since the newest)"
    return None
