"""What is known about the annotators and their labels: from the ledger, for JSON and Prefect."""

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd
from prefect import task
from sqlalchemy import ColumnElement, Connection, Engine, and_, exists, func, select

from labeling.consensus.settle import SettlePolicy
from labeling.ledger.gold import gold_labels
from labeling.ledger.reasons import RELABEL_REASONS
from labeling.ledger.tables import answers, assignments, labels, refused_answers
from labeling.quality import agreement
from tasks.context import open_context
from tasks.report.annotators_view import (
    agreement_rows,
    annotator_rows,
)
from tasks.report.artifacts import escape_markdown, publish_table

LISTED = 100  # refused answers that are told one by one
HURRIED = 0.1  # share of fast answers from which somebody is named
HURRIED_ROWS = 20  # answers with a time that it takes to say so
LED = 0.1  # lower bound of `led` from which a person is named: of many, some are above 0 by chance


@task
def publish_annotators(settling: SettlePolicy) -> None:
    """Show what is known of the annotators, and how far they agree, as two tables in Prefect."""
    ctx = open_context()
    people = annotators_report(ctx.engine, settling, ctx.workspace.class_names)
    if not people["annotators"]:
        return
    found = quality_report(ctx.engine, settling, ctx.workspace.class_names)
    for key, rows, said in (
        ("annotators", annotator_rows(people), people["said"]),
        ("agreement", agreement_rows(found), found["said"]),
    ):
        listed = "\n".join(f"* {escape_markdown(line)}" for line in said)
        table = [{name: escape_markdown(cell) for name, cell in row.items()} for row in rows]
        publish_table(key=key, table=table, description=listed)


def annotators_report(
    engine: Engine, policy: SettlePolicy, classes: Sequence[str]
) -> dict[str, Any]:
    """What is known of each annotator, ready for JSON; missing figures are None.

    `annotators` has the figures of `quality.annotator_figures` for each person, `everybody` the
    same for all, `confusions` by person, truth and class said how often, `said` in words what
    somebody should look into.
    """
    with engine.connect() as connection:
        given, gold = load_answers(connection), gold_labels(connection)
        settled = _labels_in_force(connection)
    figures = agreement.annotator_figures(given, gold=gold, policy=policy)
    mistaken = agreement.confusions(
        given, gold=gold, labels=settled.set_index("sample_id")["label"].astype(object)
    )
    people = _records(figures.drop(agreement.EVERYBODY).reset_index())
    everybody = _records(figures.loc[[agreement.EVERYBODY]])[0]
    report = {
        "gold": len(gold),
        "policy": {"gold_needed": policy.gold_needed, "gold_accuracy": policy.gold_accuracy},
        "fast_under": _number(agreement.fast_limit(given)),
        "everybody": everybody,
        "annotators": people,
        "confusions": _nested(mistaken, classes),
    }
    return report | {"said": _about_people(report)}


def quality_report(engine: Engine, policy: SettlePolicy, classes: Sequence[str]) -> dict[str, Any]:
    """How far annotators agree and how the labels stand, ready for JSON; missing figures are None.

    `agreement` is Krippendorff's alpha over all, per class and per round, `pairs` Cohen's kappa,
    `refused` the newest answers that count for nothing, `said` in words what follows.
    """
    with engine.connect() as connection:
        given, settled = load_answers(connection), _labels_in_force(connection)
        asked = _assignments_asked(connection)
        reasons, refused = _refused_by_reason(connection), _newest_refused(connection)
        gold = gold_labels(connection)
    table = agreement.agreement(given, classes)
    parts = {of: _records(part.drop(columns="of")) for of, part in table.groupby("of")}
    counts = settled["label"].value_counts()
    balance = {name: int(counts.get(name, 0)) for name in _named(classes, counts.index)}
    report = {
        "agreement": {
            "overall": parts["all"][0],
            "classes": parts.get("class", []),
            "rounds": parts.get("round", []),
        },
        "pairs": _records(agreement.kappas(given)),
        "labels": {
            "in_force": len(settled),
            "threshold": policy.threshold,
            "under_threshold": int((settled["trust"] < policy.threshold).sum()),
            "methods": _counts(settled["method"]),
            "balance": balance,
        },
        "assignments": asked,
        "gold": len(gold),
        "refused_answers": reasons,
        "refused": refused,
    }
    return report | {"said": _about_labels(report)}


def load_answers(connection: Connection) -> pd.DataFrame:
    """The answers in force, each with what the model guessed there and whether it was hidden.

    What a review suggests is no guess: it says of a label what nobody was shown.
    """
    given_to = and_(
        assignments.c.sample_id == answers.c.sample_id,
        assignments.c.round_id == answers.c.round_id,
        assignments.c.reason.not_in(RELABEL_REASONS),
    )
    asked = answers.c["seq", "sample_id", "annotator", "kind", "value", "lead_time", "round_id"]
    query = (
        select(*asked, assignments.c.pre_annotation, func.coalesce(assignments.c.blind, False))
        .join(assignments, given_to, isouter=True)
        .where(answers.c.replaced_at.is_(None))
        .order_by(answers.c.seq)
    )
    rows = connection.execute(query).tuples().all()
    columns = [*(column.name for column in asked), "pre_annotation", "blind"]
    table = pd.DataFrame(rows, columns=columns, dtype=object)
    return table.astype({"seq": int, "lead_time": float, "blind": bool})


def _labels_in_force(connection: Connection) -> pd.DataFrame:
    query = select(*labels.c["sample_id", "label", "trust", "method"])
    rows = connection.execute(query.where(labels.c.replaced_at.is_(None))).tuples().all()
    return pd.DataFrame(rows, columns=["sample_id", "label", "trust", "method"])


def _assignments_asked(connection: Connection) -> dict[str, int]:
    """How the assignments were put to people, and what became of those that did not settle."""
    sent = assignments.c.sent_at.is_not(None)
    disputed = assignments.c.disputed_at.is_not(None)
    parts = {
        "sent": (sent,),
        "blind": (sent, assignments.c.blind),
        # one person more is wanted each time it is asked again: that is no overlap
        "overlap": (sent, assignments.c.required_annotators - assignments.c.asked_again > 1),
        "asked_again": (assignments.c.asked_again > 0,),
        "disputed": (disputed,),
        "waiting_for_a_final_word": (disputed, assignments.c.closed_at.is_(None)),
    }
    whole = select(func.count()).select_from(assignments)
    return {name: connection.scalar(whole.where(*where)) or 0 for name, where in parts.items()}


def _refused_by_reason(connection: Connection) -> dict[str, int]:
    reason = refused_answers.c.reason
    query = select(reason, func.count()).where(_still_refused()).group_by(reason).order_by(reason)
    return dict(connection.execute(query).tuples().all())


def _newest_refused(connection: Connection) -> list[dict[str, Any]]:
    """What was refused, where and why, the newest first."""
    columns = refused_answers.c["reason", "annotator", "detail", "seen_at"]
    order = refused_answers.c.seen_at.desc(), refused_answers.c.external_id
    newest = select(*columns).where(_still_refused()).order_by(*order).limit(LISTED)
    return [dict(row) for row in connection.execute(newest).mappings()]


def _still_refused() -> ColumnElement[bool]:
    """Whether nobody has corrected a refused answer since: its correction is in force."""
    same = answers.c["source", "external_id"], refused_answers.c["source", "external_id"]
    corrected = and_(*(one == other for one, other in zip(*same, strict=True)))
    return ~exists().where(corrected, answers.c.replaced_at.is_(None))


def _about_people(report: dict[str, Any]) -> list[str]:
    """What somebody should look into, one sentence each."""
    policy, limit = report["policy"], report["fast_under"]
    said = []
    for row in report["annotators"]:
        name = row["annotator"]
        if row["weight"] < 1:
            said.append(
                f"{name} was right on {row['accuracy']:.2f} of {row['judged']} gold samples, under "
                f"the policy's {policy['gold_accuracy']:.2f}: each of their votes counts "
                f"{row['weight']:.2f} instead of 1."
            )
        if row["timed"] >= HURRIED_ROWS and row["fast"] >= HURRIED:
            said.append(
                f"{name} gave {row['fast']:.0%} of {row['timed']} answers in less than "
                f"{limit:.1f} s: too fast to have looked."
            )
        said += _led(name, row, at_least=LED)
    said += _led("On the whole, everybody", report["everybody"], at_least=0.0)
    if not report["everybody"]["judged"]:
        said.append(
            "Nobody has answered a gold sample: how often people are right is not known."
            if report["gold"]
            else "There is no gold: `hone import --gold` takes in samples whose class is known."
        )
    return said


def _led(who: str, row: dict[str, Any], *, at_least: float) -> list[str]:
    """A sentence on somebody whom the guess leads by more than that, for sure."""
    if row["led_low"] is None or row["led_low"] <= at_least:
        return []
    return [
        f"{who} is led by the guess: it is the answer {row['accepted']:.0%} of the time when it is "
        f"shown, {row['agreed']:.0%} when it is not."
    ]


def _about_labels(report: dict[str, Any]) -> list[str]:
    """What the figures amount to, one sentence each."""
    whole, asked, standing = (report[key] for key in ("agreement", "assignments", "labels"))
    overall = whole["overall"]
    value = "" if overall["alpha"] is None else f" {overall['alpha']:.2f}"
    remedy = "" if overall["samples"] else "; `hone label --overlap-share 0.1` asks several"
    said = [
        f"Agreement (alpha){value} over {overall['samples']} samples: {overall['said']}{remedy}."
    ]
    if standing["under_threshold"]:
        said.append(
            f"{standing['under_threshold']} of {standing['in_force']} labels are trusted less than "
            f"{standing['threshold']:.2f}."
        )
    if asked["waiting_for_a_final_word"]:
        said.append(
            f"Disputed and waiting for a final word: {asked['waiting_for_a_final_word']}. Open the "
            "tab Disagreements in Label Studio, see all answers, and add the right one (+)."
        )
    missing = [name for name, count in standing["balance"].items() if not count]
    if missing and standing["in_force"]:
        said.append(f"No label yet: {', '.join(missing[:10])}{', ...' if missing[10:] else ''}.")
    return said


def _nested(mistaken: pd.DataFrame, classes: Sequence[str]) -> dict[str, Any]:
    """By person, truth and class said: how often, in the order of the classes."""
    nested: dict[str, Any] = {}
    for name, own in mistaken.groupby("annotator", sort=True):
        times = own.set_index(["truth", "value"])["times"].to_dict()
        truths = _named(classes, own["truth"])
        values = _named(classes, own["value"])
        nested[str(name)] = {
            truth: {value: times[truth, value] for value in values if (truth, value) in times}
            for truth in truths
            if truth in set(own["truth"])
        }
    return nested


def _named(classes: Sequence[str], found: Any) -> list[str]:
    """The classes, then what else was found (a class that was taken out since)."""
    return [*classes, *sorted(set(found) - set(classes))]


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows for JSON: None for what is missing."""
    return list(json.loads(table.to_json(orient="records")))


def _counts(column: pd.Series) -> dict[str, int]:
    return {str(name): int(count) for name, count in column.value_counts(sort=True).items()}


def _number(value: float) -> float | None:
    return None if pd.isna(value) else value
