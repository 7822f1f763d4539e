"""Reports on annotators and labels: the figures, and in sentences what somebody should look into.

A missing figure is None: there was nothing to compare.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import pandas as pd

from labeling.consensus.settle import SettlePolicy
from labeling.ledger.metadata import SliceCounts
from labeling.ledger.report_queries import AssignmentCounts, RefusedAnswer
from labeling.quality import agreement

HURRIED = 0.1  # share of fast answers from which an annotator is named
HURRIED_ROWS = 20  # answers with a time that are needed to judge that
LED = 0.1  # lower bound of `led` from which one is named: of many, one is above 0 by chance

Confusions = dict[str, dict[str, dict[str, int]]]  # annotator, true class, answered class: times

Figures = TypeVar("Figures", "AnnotatorFigures", "Agreement", "PairAgreement")


@dataclass(frozen=True)
class AnnotatorFigures:
    """The figures of `agreement.annotator_figures` of one annotator, or of all together."""

    annotator: str
    answers: int
    skips: int
    others: int
    with_others: float | None
    timed: int
    seconds: float | None
    fast: float | None
    shown: int
    accepted: float | None
    blind: int
    agreed: float | None
    led: float | None
    led_low: float | None
    led_high: float | None
    judged: int
    right: int
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None
    weight: float | None


@dataclass(frozen=True)
class GoldPolicy:
    """From how many answers to gold on, and below which accuracy there, a vote counts less."""

    gold_needed: int
    gold_accuracy: float


@dataclass(frozen=True)
class AnnotatorReport:
    """How good, how fast and how independent each annotator is."""

    gold: int
    policy: GoldPolicy
    fast_under: float | None  # seconds
    everybody: AnnotatorFigures
    annotators: list[AnnotatorFigures]
    confusions: Confusions
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Agreement:
    """Krippendorff's alpha over all samples, of one class, or in one round."""

    name: str
    samples: int
    answers: int
    alpha: float | None
    interpretation: str


@dataclass(frozen=True)
class AgreementReport:
    """Agreement over all samples, for each class and for each round."""

    overall: Agreement
    classes: list[Agreement]
    rounds: list[Agreement]


@dataclass(frozen=True)
class PairAgreement:
    """Cohen's kappa of two annotators."""

    one: str
    other: str
    samples: int
    agreed: float | None
    kappa: float | None
    interpretation: str


@dataclass(frozen=True)
class LabelCounts:
    """The labels in force: how many, how many of them doubtful, by method and by class."""

    in_force: int
    threshold: float
    under_threshold: int
    methods: dict[str, int]
    balance: dict[str, int]


@dataclass(frozen=True)
class QualityReport:
    """How far annotators agree, how the labels stand, and what is disputed or refused."""

    agreement: AgreementReport
    pairs: list[PairAgreement]
    labels: LabelCounts
    assignments: AssignmentCounts
    gold: int
    refused_answers: dict[str, int]
    refused: list[RefusedAnswer]
    remarks: list[str] = field(default_factory=list)
    slices: list[SliceCounts] = field(default_factory=list)  # of the metadata that was given


def report_annotators(
    answers: pd.DataFrame,
    *,
    gold: pd.Series,
    labels: pd.DataFrame,
    policy: SettlePolicy,
    classes: Sequence[str],
) -> AnnotatorReport:
    """What the answers (`report_queries.load_shown_answers`) show of those who gave them."""
    figures = agreement.annotator_figures(answers, gold=gold, policy=policy)
    everybody, *annotators = _rows(AnnotatorFigures, figures.reset_index())
    mistaken = agreement.confusions(
        answers, gold=gold, labels=labels.set_index("sample_id")["label"].astype(object)
    )
    fast_under = _optional(agreement.fast_limit(answers))
    shares = GoldPolicy(policy.gold_needed, policy.gold_accuracy)
    return AnnotatorReport(
        gold=len(gold),
        policy=shares,
        fast_under=fast_under,
        everybody=everybody,
        annotators=annotators,
        confusions=_by_annotator(mistaken, classes),
        remarks=[
            *(line for row in annotators for line in _annotator_remarks(row, shares, fast_under)),
            *_led_remark("On the whole, everybody", everybody, at_least=0.0),
            *_gold_remark(everybody, len(gold)),
        ],
    )


def report_quality(
    answers: pd.DataFrame,
    *,
    labels: pd.DataFrame,
    gold: int,
    assignments: AssignmentCounts,
    refused_answers: dict[str, int],
    refused: list[RefusedAnswer],
    policy: SettlePolicy,
    classes: Sequence[str],
) -> QualityReport:
    """What answers and labels show of their quality."""
    parts = {
        str(of): _rows(Agreement, part)
        for of, part in agreement.agreement(answers, classes).groupby("of")
    }
    by_name = AgreementReport(
        overall=parts["all"][0], classes=parts.get("class", []), rounds=parts.get("round", [])
    )
    counts = _label_counts(labels, policy, classes)
    return QualityReport(
        agreement=by_name,
        pairs=_rows(PairAgreement, agreement.kappas(answers)),
        labels=counts,
        assignments=assignments,
        gold=gold,
        refused_answers=refused_answers,
        refused=refused,
        remarks=_quality_remarks(by_name.overall, counts, assignments),
    )


def _label_counts(
    labels: pd.DataFrame, policy: SettlePolicy, classes: Sequence[str]
) -> LabelCounts:
    by_class = labels["label"].value_counts()
    by_method = labels["method"].value_counts()
    return LabelCounts(
        in_force=len(labels),
        threshold=policy.threshold,
        under_threshold=int((labels["trust"] < policy.threshold).sum()),
        methods={str(name): int(count) for name, count in by_method.items()},
        balance={
            name: int(by_class.get(name, 0)) for name in _with_removed(classes, by_class.index)
        },
    )


def _annotator_remarks(
    row: AnnotatorFigures, policy: GoldPolicy, fast_under: float | None
) -> list[str]:
    """What somebody should look into about one annotator, one sentence each."""
    remarks = []
    if row.weight is not None and row.weight < 1:
        remarks.append(
            f"{row.annotator} was right on {row.accuracy:.2f} of {row.judged} gold samples, under "
            f"the policy's {policy.gold_accuracy:.2f}: each of their votes counts "
            f"{row.weight:.2f} instead of 1."
        )
    if row.timed >= HURRIED_ROWS and (row.fast or 0.0) >= HURRIED:
        remarks.append(
            f"{row.annotator} gave {row.fast:.0%} of {row.timed} answers in less than "
            f"{fast_under:.1f} s: too fast to have looked."
        )
    return remarks + _led_remark(row.annotator, row, at_least=LED)


def _led_remark(name: str, row: AnnotatorFigures, *, at_least: float) -> list[str]:
    """A sentence on an annotator whom pre-annotations lead by more than that, for certain."""
    if row.led_low is None or row.led_low <= at_least:
        return []
    return [
        f"{name} is led by the pre-annotation: it is the answer {row.accepted:.0%} of the time "
        f"when it is shown, {row.agreed:.0%} when it is not."
    ]


def _gold_remark(everybody: AnnotatorFigures, gold: int) -> list[str]:
    if everybody.judged:
        return []
    if gold:
        return ["Nobody has answered a gold sample: how often annotators are right is not known."]
    return ["There is no gold: `hone import --gold` takes in samples whose class is known."]


def _quality_remarks(
    overall: Agreement, labels: LabelCounts, assignments: AssignmentCounts
) -> list[str]:
    """What the figures amount to, one sentence each."""
    value = "" if overall.alpha is None else f" {overall.alpha:.2f}"
    remedy = "" if overall.samples else "; `hone label --overlap-share 0.1` asks several annotators"
    remarks = [
        f"Agreement (alpha){value} over {overall.samples} samples: "
        f"{overall.interpretation}{remedy}."
    ]
    if labels.under_threshold:
        remarks.append(
            f"{labels.under_threshold} of {labels.in_force} labels are trusted less than "
            f"{labels.threshold:.2f}."
        )
    if assignments.waiting_for_a_final_word:
        remarks.append(
            f"Disputed and waiting for a final word: {assignments.waiting_for_a_final_word}. Open "
            "the tab Disagreements in Label Studio, see all answers, and add the right one (+)."
        )
    missing = [name for name, count in labels.balance.items() if not count]
    if missing and labels.in_force:
        more = ", ..." if missing[10:] else ""
        remarks.append(f"No label yet: {', '.join(missing[:10])}{more}.")
    return remarks


def _by_annotator(mistaken: pd.DataFrame, classes: Sequence[str]) -> Confusions:
    """How often each annotator gave which class to which, in the order of the classes."""
    nested: Confusions = {}
    for name, own in mistaken.groupby("annotator", sort=True):
        times = {
            (str(row.truth), str(row.value)): int(row.times)  # type: ignore[arg-type]
            for row in own.itertuples()
        }
        answered = _with_removed(classes, own["value"])
        nested[str(name)] = {
            truth: {value: times[truth, value] for value in answered if (truth, value) in times}
            for truth in _with_removed(classes, own["truth"])
            if truth in set(own["truth"])
        }
    return nested


def _with_removed(classes: Sequence[str], names: Iterable[Any]) -> list[str]:
    """The classes, then those that were removed from the workspace but still occur."""
    return [*classes, *sorted({str(name) for name in names} - set(classes))]


def _rows(kind: type[Figures], table: pd.DataFrame) -> list[Figures]:
    """Each row of a table as a dataclass with the columns it has fields for."""
    names = [part.name for part in fields(kind)]
    columns = {name: table[name].astype(object).tolist() for name in names}
    rows = zip(*columns.values(), strict=True)
    return [kind(**dict(zip(names, map(_optional, row), strict=True))) for row in rows]


def _optional(value: Any) -> Any:
    return None if pd.isna(value) else value
