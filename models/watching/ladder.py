"""The ladder: which step a check takes, from its evidence and from how the incident stands.

note -> label -> retrain -> alert -> halt. Each step has one rule with its numbers, in both
directions: a step is taken when its rule is met, and an incident ends after calm checks. Pure: the
same evidence and standing give the same step.
"""

from dataclasses import dataclass
from enum import StrEnum

from core.text import counted

NOTE_SHARE = 0.5  # of the log threshold: from here on evidence is noted
CALM_CHECKS = 3  # in a row, at least, before an incident ends; as many as its evidence took to rise
CALM_CHECKS_AT_MOST = 48
BLIND_CHECKS = 24  # in a row that could not tell, before a person hears that nothing is watched
PATIENCE = 3  # cool-downs that annotators have, before a person hears that nobody answers


class Step(StrEnum):
    """What a check does, the mildest first."""

    NONE = "none"
    NOTE = "note"
    LABEL = "label"
    RETRAIN = "retrain"
    ALERT = "alert"
    HALT = "halt"

    @property
    def rank(self) -> int:
        """The place on the ladder."""
        return list(Step).index(self)


@dataclass(frozen=True)
class LadderRules:
    """What of the policy the ladder goes by."""

    cooldown_hours: float = 24.0
    halt: str = "never"
    halt_below: float = 0.0


@dataclass(frozen=True)
class Evidence:
    """What one check measured, over all signals."""

    log_evidence: float = 0.0  # accumulated
    threshold: float = 1.0  # of log_evidence, from the alarm budget
    alarm: bool = False
    measured: bool = True  # a signal could tell
    kind: str | None = None
    decay: bool = False  # outcomes alone are the alarm
    declined: bool = False  # outcomes show a decline that is no alarm by itself
    blind_checks: int = 0  # in a row up to this one, with traffic of which no signal could tell
    accuracy_high: float | None = None  # upper end of the interval of the accuracy in service
    accuracy_source: str = "measured"  # or "estimated"

    @property
    def is_blind(self) -> bool:
        """Whether so many checks could not tell that somebody must look."""
        return self.blind_checks >= BLIND_CHECKS

    @property
    def is_fault(self) -> bool:
        """Whether the source of the images is at fault, which no label repairs."""
        return (self.kind or "").startswith("instrumentation")


@dataclass(frozen=True)
class Standing:
    """How the open incident stands; the defaults are those of none."""

    step: Step = Step.NONE
    calm_checks: int = 0  # in a row, before this one
    rise_checks: int = 1  # that the evidence took to its first alarm
    hours_since_labels: float | None = None  # since labels were asked for; None: never
    round_id: str | None = None  # that answers
    asked: int = 0  # samples in it
    answered: int = 0
    retrained: bool = False  # the champion was trained on its answers
    hours_since_release: float | None = None
    halted: bool = False
    hours_since_resume: float | None = None  # since a person lifted the last halt
    unpaid: str | None = None  # why a batch of labels cannot be paid for

    @property
    def is_open(self) -> bool:
        """Whether there is an incident."""
        return self.step.rank > Step.NOTE.rank


@dataclass(frozen=True)
class Rung:
    """The step of a check, whether it asks for labels, and each rule with its numbers."""

    step: Step
    asks_for_labels: bool = False
    retrains: bool = False
    ends: bool = False  # the incident
    calm_checks: int = 0
    why: tuple[str, ...] = ()
    why_not: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Rule:
    """One rule, met or not, as a sentence."""

    step: Step
    met: bool
    sentence: str


def next_rung(
    evidence: Evidence, standing: Standing, rules: LadderRules, *, retrain: tuple[bool, str]
) -> Rung:
    """The highest step whose rule is met, else how the incident goes on or ends.

    `retrain` is whether a training is due and the sentence that says why or why not.
    """
    calm = standing.calm_checks + 1 if _is_calm(evidence) else 0
    if not evidence.measured and not evidence.alarm:
        calm = standing.calm_checks  # a check that cannot tell neither calms nor alarms
    checked = (
        _halt(evidence, standing, rules),
        _alert(evidence, standing, rules),
        _Rule(Step.RETRAIN, *retrain),
        _label(evidence, standing, rules),
        _note(evidence),
    )
    met = [rule for rule in checked if rule.met]
    why_not = tuple(f"{rule.step}: {rule.sentence}" for rule in checked if not rule.met)
    if not met:
        return _without_a_rule(evidence, standing, calm, why_not)
    steps = {rule.step for rule in met}
    return Rung(
        max(met[0].step, standing.step, key=lambda step: step.rank),  # no step down but to the end
        asks_for_labels=Step.LABEL in steps,
        retrains=Step.RETRAIN in steps,
        calm_checks=calm,
        why=tuple(f"{rule.step}: {rule.sentence}" for rule in met),
        why_not=why_not,
    )


def calm_needed(standing: Standing) -> int:
    """The calm checks in a row after which the incident ends."""
    if standing.retrained:
        return 1  # another model is watched, against a reference that knows this traffic
    return max(CALM_CHECKS, min(standing.rise_checks, CALM_CHECKS_AT_MOST))


def _is_calm(evidence: Evidence) -> bool:
    noted = evidence.log_evidence >= NOTE_SHARE * evidence.threshold
    return evidence.measured and not (evidence.alarm or noted or evidence.declined)


def _without_a_rule(
    evidence: Evidence, standing: Standing, calm: int, why_not: tuple[str, ...]
) -> Rung:
    if evidence.alarm:
        return Rung(
            max(standing.step, Step.NOTE, key=lambda step: step.rank),
            why=(_known(standing),),
            why_not=why_not,
        )
    if not standing.is_open:
        reason = "no rule is met" if evidence.measured else "no signal could tell"
        return Rung(Step.NONE, calm_checks=calm, why=(reason,), why_not=why_not)
    needed = calm_needed(standing)
    if calm < needed or standing.halted:
        held = "the service is halted" if standing.halted else f"{calm} of {needed} calm checks"
        why = (f"the incident stays open: {held}",)
        return Rung(standing.step, calm_checks=calm, why=why, why_not=why_not)
    why = (f"the incident ends: {counted(calm, 'calm check')} in a row, {needed} are needed",)
    return Rung(Step.NONE, ends=True, calm_checks=calm, why=why, why_not=why_not)


def _known(standing: Standing) -> str:
    if not standing.is_open and standing.hours_since_labels is not None:
        return (
            f"an incident that has ended asked for labels {standing.hours_since_labels:.1f} h ago: "
            "an alarm counts again once the cool-down is over"
        )
    if standing.round_id is None:
        return "the drift is known, and the next round answers it"
    return (
        f"the drift is known: {standing.round_id} answers it, "
        f"{standing.answered} of {standing.asked} answered"
    )


def _halt(evidence: Evidence, standing: Standing, rules: LadderRules) -> _Rule:
    def rule(met: bool, sentence: str) -> _Rule:
        return _Rule(Step.HALT, met, sentence)

    if rules.halt == "never":
        return rule(False, "the policy is never")
    if standing.halted:
        return rule(
            False, "the service is halted already; `hone resume` or a better model lifts it"
        )
    if evidence.accuracy_high is None:
        return rule(False, "no accuracy was measured or estimated")
    figure = f"{evidence.accuracy_source} accuracy is at most {evidence.accuracy_high:.3f}"
    if evidence.accuracy_high >= rules.halt_below:
        return rule(False, f"{figure}, the service halts below {rules.halt_below:g}")
    resumed = standing.hours_since_resume
    if resumed is not None and resumed < rules.cooldown_hours:
        return rule(
            False,
            f"a person resumed the service {resumed:.1f} h ago, the cool-down is "
            f"{rules.cooldown_hours:g} h",
        )
    return rule(True, f"{figure}, below {rules.halt_below:g}")


def _alert(evidence: Evidence, standing: Standing, rules: LadderRules) -> _Rule:
    def rule(met: bool, sentence: str) -> _Rule:
        return _Rule(Step.ALERT, met, sentence)

    if not (evidence.alarm or evidence.is_blind):
        return rule(False, "there is no alarm")
    if standing.step.rank >= Step.ALERT.rank:
        return rule(False, "people know: an alert is out for this incident")
    if evidence.is_blind:
        blind = counted(evidence.blind_checks, "check")
        return rule(True, f"{blind} in a row could not tell: nothing is watched")
    if evidence.is_fault:
        return rule(True, "a fault of the source: more labels do not repair it")
    after = standing.hours_since_release
    if standing.retrained and after is not None and after >= rules.cooldown_hours:
        return rule(True, f"the alarm goes on {after:.0f} h after a model learnt from its answers")
    if standing.unpaid and standing.hours_since_labels is None:
        return rule(True, f"nobody can be asked about the drift: {standing.unpaid}")
    waited, limit = standing.hours_since_labels, PATIENCE * rules.cooldown_hours
    unanswered = standing.asked == 0 or standing.answered < standing.asked
    if waited is not None and not (unanswered or standing.retrained) and waited >= 2 * limit:
        known = "are given, and no model in service has learnt from them"
        return rule(True, f"labels were asked for {waited:.0f} h ago, {known}")
    if waited is None or not unanswered:
        return rule(False, "the alarm is answered by labels and a training first")
    if waited < limit:
        return rule(False, f"labels were asked for {waited:.1f} h ago, people have {limit:g} h")
    return rule(True, f"labels were asked for {waited:.0f} h ago and are not all given")


def _label(evidence: Evidence, standing: Standing, rules: LadderRules) -> _Rule:
    def rule(met: bool, sentence: str) -> _Rule:
        return _Rule(Step.LABEL, met, sentence)

    numbers = f"evidence {evidence.log_evidence:.1f} of {evidence.threshold:.1f}"
    if not evidence.alarm:
        return rule(False, numbers)
    if evidence.is_fault:
        return rule(False, "a fault of the source is repaired, not learnt")
    waited = standing.hours_since_labels
    if waited is not None and waited < rules.cooldown_hours:
        ago = f"labels were asked for {waited:.1f} h ago, the cool-down is "
        about = f"{_known(standing)}; {ago}" if standing.is_open else f"{_known(standing)}, "
        return rule(False, f"{about}{rules.cooldown_hours:g} h")
    if waited is not None and not standing.retrained:
        return rule(False, _known(standing))
    if standing.unpaid:
        return rule(False, standing.unpaid)
    return rule(True, f"{'alarm by decay' if evidence.decay else 'alarm'}, {numbers}")


def _note(evidence: Evidence) -> _Rule:
    limit = NOTE_SHARE * evidence.threshold
    if evidence.alarm:
        return _Rule(Step.NOTE, False, "an alarm is more than a note")
    met = evidence.log_evidence >= limit
    words = "at least" if met else "below"
    return _Rule(Step.NOTE, met, f"evidence {evidence.log_evidence:.1f}, {words} {limit:.1f}")
