"""A verdict for people: what was decided, why, what would change it, and every criterion."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from models.judging.criterion import Criterion, Status
from models.judging.verdict import Outcome, Verdict
from tasks.report.artifacts import escape_markdown

NOTHING = "-"
TOGETHER = ("classes", "slices")  # criteria of many groups: those that are met share a line
MEANING = {
    Outcome.PROMOTE: "takes the champion's place",
    Outcome.HOLD: "waits: the evidence is not there yet",
    Outcome.REJECT: "is worse than the champion",
}
HELD_BACK = "is held back"  # a criterion has failed: more evidence alone would not promote it
COLUMNS = ("criterion", "about", "status", "value", "interval", "threshold", "rows")
TableRow = dict[str, str]


@dataclass(frozen=True)
class Pair:
    """What was judged: which model against which, on the rows of which snapshot."""

    challenger: str
    champion: str | None
    snapshot: str


def verdict_markdown(verdict: Verdict, pair: Pair) -> str:
    """A verdict as a page: readable in ten seconds, with every number below."""
    rows = table_rows(verdict)
    lines = [
        f"# {verdict.outcome}: {escape_markdown(pair.challenger)}",
        f"{escape_markdown(about(verdict, pair))}",
        "",
        "**Why**",
        "",
        *_bullets(verdict.reasons),
        *_section("**What would change it**", changes(verdict)),
        *_section("**Cannot be told**", cannot_tell(verdict)),
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|---" * len(COLUMNS) + "|",
        *(f"| {' | '.join(escape_markdown(row[name]) for name in COLUMNS)} |" for row in rows),
        # Prefect cuts off what does not fit into a line of a table: sentences stand below it.
        *_section("**What each rests on**", [_evidence(row) for row in rows]),
    ]
    return "\n".join(lines)


def verdict_lines(verdict: Verdict, pair: Pair) -> Iterator[str]:
    """A verdict as sentences: outcome, why, and what would change it."""
    yield f"{verdict.outcome}: {about(verdict, pair)}"
    for name, sentences in (
        ("Why", verdict.reasons),
        ("What would change it", changes(verdict)),
        ("Cannot be told", cannot_tell(verdict)),
    ):
        if sentences:
            yield f"{name}: {'; '.join(sentences)}"


def about(verdict: Verdict, pair: Pair) -> str:
    """What was judged against what, on what."""
    against = f"against {pair.champion}" if pair.champion else "the first model"
    failed = any(one.status == Status.FAIL for one in verdict.criteria)
    held = verdict.outcome == Outcome.HOLD and failed
    meaning = HELD_BACK if held else MEANING[verdict.outcome]
    where = f"{against}, on the gate rows of {pair.snapshot}"
    return f"{pair.challenger} {meaning} ({where})"


def changes(verdict: Verdict) -> list[str]:
    """What would change the outcome, each once."""
    unmet = [one for one in verdict.criteria if one.status != Status.PASS and one.remedy]
    return list(dict.fromkeys(one.remedy for one in unmet))


def cannot_tell(verdict: Verdict) -> list[str]:
    """The criteria that are met for want of rows that could show otherwise."""
    return [f"{one.evidence}; {one.remedy}" for one in verdict.criteria
            if one.status == Status.PASS and one.remedy]  # fmt: skip


def table_rows(verdict: Verdict) -> list[TableRow]:
    """The criteria as rows of COLUMNS and evidence; classes and slices that are met in one each."""
    rows = []
    for name in dict.fromkeys(one.name for one in verdict.criteria):
        same = [one for one in verdict.criteria if one.name == name]
        met = [one for one in same if one.status == Status.PASS]
        together = name in TOGETHER and len(met) > 1
        rows += [_row(one) for one in same if not (together and one in met)]
        if together:
            rows.append(_joint_row(name, met, len(same)))
    return rows


def _row(one: Criterion) -> TableRow:
    interval = NOTHING
    if one.low is not None and one.high is not None:
        interval = f"{one.low:.3f} to {one.high:.3f}"
    cells = (
        one.name, one.population or NOTHING, str(one.status), _number(one.value), interval,
        _number(one.threshold), f"{one.rows:,}" if one.rows else NOTHING,
    )  # fmt: skip
    return dict(zip((*COLUMNS, "evidence"), (*cells, one.evidence), strict=True))


def _joint_row(name: str, met: Sequence[Criterion], count: int) -> TableRow:
    what = f"no significant loss on {len(met)} of {count} {name}"
    rows = [one.rows for one in met]
    cells = {"criterion": name, "about": f"{len(met)} of {count}", "status": str(Status.PASS),
             "threshold": _number(met[0].threshold), "rows": f"{min(rows)} to {max(rows)}",
             "evidence": what}  # fmt: skip
    return {column: cells.get(column, NOTHING) for column in (*COLUMNS, "evidence")}


def _evidence(row: TableRow) -> str:
    about = "" if row["about"] == NOTHING else f" ({row['about']})"
    return f"{row['criterion']}{about}: {row['evidence']}"


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}".rstrip("0").rstrip(".")


def _section(title: str, sentences: Sequence[str]) -> list[str]:
    return ["", title, "", *_bullets(sentences)] if sentences else []


def _bullets(sentences: Sequence[str]) -> list[str]:
    return [f"- {escape_markdown(sentence)}" for sentence in sentences]
