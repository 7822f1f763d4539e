"""Labels from elsewhere become answers, or gold: read, matched to samples, judged, recorded.

What a label file says is one set: importing the same file again changes nothing, importing it
edited replaces what it said before, and the history stays. A row that can be no answer is told with
its place, the cause and the remedy, and the rest goes on.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from sqlalchemy import Connection, Engine, select

from core.database import now
from core.locks import Token
from core.text import listed, short, storable
from core.workspace import Workspace
from labeling.formats import READERS
from labeling.formats.image_lookup import Absent, is_sample_id, take_images
from labeling.formats.rows import LabelFile, Row, plain_name, same_name
from labeling.kinds import Kind
from labeling.ledger.answers import ANSWER_COLUMNS, known_samples, record_answers
from labeling.ledger.gold import add_gold, audited
from labeling.ledger.tables import answers
from labeling.ledger.watermarks import watermark_of

NAMED = 3  # problems of one kind that are told in full


@dataclass(frozen=True)
class Matched:
    """A label file whose images are in our care, as far as they can be."""

    file: LabelFile
    rows: list[Row]  # with our sample_id, or with the reason why they can be no answer
    images: dict[str, Any]  # how many were added, known, refused by reason


def read_labels(
    path: Path, classes: Sequence[str], kind: Kind, format: str | None = None
) -> LabelFile:
    """What a label file says, in the format named or else in the one it looks like."""
    path = Path(path).expanduser()
    if not path.exists():
        raise ValueError(f"{path} does not exist; name a label file, or a class-per-folder tree")
    name = format or guess_format(path)
    if name not in READERS or name not in kind.formats:
        known = [one for one in READERS if one in kind.formats]
        raise ValueError(f"format is {name!r}; choose from {', '.join(known)}")
    return READERS[name](path, classes, kind)


def guess_format(path: Path) -> str:
    """The format of a label file: by its name, and for JSON by its first sign."""
    if path.is_dir():
        return "folders"
    if path.suffix.lower() in (".csv", ".tsv"):
        return "csv"
    if path.suffix.lower() == ".json":
        with path.open("rb") as file:
            start = file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        return "label-studio" if start == b"[" else "coco"
    raise ValueError(
        f"{path}: its name does not tell its format; say --format with one of {', '.join(READERS)}"
    )


def match(
    engine: Engine,
    workspace: Workspace,
    file: LabelFile,
    *,
    folder: Path | None = None,
    processes: int = 1,
) -> Matched:
    """Take in the images that the file names, relative to `folder` or else to its own folder."""
    with engine.connect() as connection:
        named = {row.sample_id for row in file.rows if is_sample_id(row.sample_id)}
        ours = set(known_samples(connection, sorted(map(str, named))))
    names = dict.fromkeys(row.image for row in file.rows if row.sample_id not in ours)
    taken = take_images(
        engine,
        workspace,
        [name for name in names if name],
        folder=_image_folder(file, folder),
        processes=processes,
    )
    rows = [_met(row, ours, taken.meant) for row in file.rows]
    refused = Counter(fate.reason for fate in taken.meant.values() if isinstance(fate, Absent))
    known = max(len(ours) + len(taken.meant) - refused.total() - taken.added, 0)
    return Matched(file, rows, {"added": taken.added, "known": known, "refused": dict(refused)})


def record_import(
    engine: Engine, token: Token, matched: Matched, classes: Sequence[str]
) -> dict[str, Any]:
    """Take over what the file says as answers; return what came of them.

    Safe to repeat. Answers that the file had when it was imported before, and has no more, are
    withdrawn.
    """
    source = matched.file.source
    rows = judged(matched, classes)
    given = _answers(source, (row for row in rows if not row.reason))
    with engine.connect() as connection:
        before = _samples_of(connection, source)
        gone = before - {row.sample_id for row in matched.rows}
        _refuse_namesake(connection, matched.file, len(gone))
    counts = record_answers(
        engine,
        token,
        given,
        source=source,
        read=before | set(given["sample_id"]),
        refused=_answers(source, (row for row in rows if row.reason)),
        classes=classes,
        watermark=_place(matched.file),  # where this set was read, to know it again
    )
    return _outcome(matched, rows, new=counts["new"], of=len(given), gone=counts["withdrawn"])


def record_gold(
    engine: Engine, token: Token, matched: Matched, classes: Sequence[str]
) -> dict[str, Any]:
    """Take over what the file says as known truths; return what came of them.

    People must agree on a truth, and an audit sample never becomes gold.
    """
    rows = [row for row in judged(matched, classes) if row.kind != "skip"]
    with engine.connect() as connection:
        in_audit = audited(connection, {row.sample_id for row in rows if row.sample_id})
    said: dict[str | None, set[str | None]] = defaultdict(set)
    for row in rows:
        said[row.sample_id] |= set() if row.reason else {row.label}
    rows = [_as_truth(row, in_audit, said) for row in rows]
    truths = {str(row.sample_id): row.label for row in rows if not row.reason}
    series = pd.Series(truths, index=pd.Index(list(truths), dtype=object), dtype=object)
    new = add_gold(engine, token, series, source=matched.file.source)
    return _outcome(matched, rows, new=new, of=len(truths), gone=0)


def judged(matched: Matched, classes: Sequence[str]) -> list[Row]:
    """Whatever says something, with our classes and with its annotator, or why it is no answer."""
    names = {**same_name(classes), **{name: name for name in classes}}
    remedy = f"the classes of hone.toml are {listed(classes)}; add it there, or correct the file"
    source = matched.file.source
    told = (row for row in matched.rows if not row.says_nothing)
    return _last_words([_ours(row, source, names, remedy) for row in told])


def problems(rows: Sequence[Row]) -> list[str]:
    """A line for the first few rows refused for each reason, and how many more there are."""
    by_reason: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.reason:
            by_reason[row.reason].append(row)
    lines = []
    for reason, some in sorted(by_reason.items()):
        lines += [f"{reason}: {row.where}: {row.detail}" for row in some[:NAMED]]
        lines += [f"{reason}: {len(some) - NAMED} more"] if len(some) > NAMED else []
    return lines


def _image_folder(file: LabelFile, folder: Path | None) -> Path:
    beside = file.path if file.path.is_dir() else file.path.resolve().parent
    where = beside if folder is None else Path(folder).expanduser()
    if not where.is_dir():
        raise ValueError(f"{where} is no folder; name the one that holds the images with --images")
    return where.resolve()


def _met(row: Row, ours: set[str], meant: Mapping[str, str | Absent]) -> Row:
    """The row with its sample, or with the reason why it has none."""
    if row.sample_id in ours:
        return row
    fate = meant.get(row.image or "")
    if isinstance(fate, str):
        return row._replace(sample_id=fate)
    if fate is None:
        detail = f"sample {short(row.sample_id)} is not in this workspace; name its image file"
        fate = Absent("NO_SUCH_SAMPLE", detail)
    nowhere = row._replace(sample_id=None)
    return nowhere if row.reason or row.says_nothing else nowhere._replace(**fate._asdict())


def _ours(row: Row, source: str, names: Mapping[str, str], remedy: str) -> Row:
    """The row in our words: who says it, and which of our classes."""
    row = row._replace(annotator=storable(row.annotator or "").strip() or source)
    if row.reason or row.kind == "skip":
        return row
    said = str(row.label)
    label = names.get(said) or names.get(plain_name(said))
    if label is None:
        return row._replace(reason="UNKNOWN_CLASS", detail=f"{short(said)} is no class; {remedy}")
    return row._replace(label=label)


def _last_words(rows: Sequence[Row]) -> list[Row]:
    """The rows, all but the last answer of one annotator to one image refused.

    Last is the latest where times are told, else the one further down; a verdict comes after all.
    """
    good = [at for at, row in enumerate(rows) if not row.reason]
    good.sort(key=lambda at: (rows[at].kind == "verdict", rows[at].answered_at or ""))
    last = {(rows[at].sample_id, rows[at].annotator): at for at in good}
    early = set(good) - set(last.values())
    detail = "the same annotator answers this image again; the last answer counts"
    return [
        row._replace(reason="REPEATED", detail=detail) if at in early else row
        for at, row in enumerate(rows)
    ]


def _as_truth(row: Row, in_audit: set[str], said: Mapping[str | None, set[str | None]]) -> Row:
    if row.reason:
        return row
    if row.sample_id in in_audit:
        detail = "an audit sample measures the model and is never gold; leave it out"
        return row._replace(reason="AUDIT_SAMPLE", detail=detail)
    if len(said[row.sample_id]) > 1:
        named = listed(sorted(map(str, said[row.sample_id])))
        detail = f"its annotators say {named}, so neither is a known truth; keep one"
        return row._replace(reason="TWO_LABELS", detail=detail)
    return row


def _answers(source: str, rows: Iterable[Row]) -> pd.DataFrame:
    """The rows as the ledger takes them; one annotator's answer to one sample keeps its key."""
    seen_at = now()  # a file has no clock of its own: it says this from now on
    table = [
        {
            "source": source,
            "external_id": f"{row.sample_id or storable(row.image or row.where)}:{row.annotator}",
            "sample_id": row.sample_id,
            "annotator": row.annotator,
            "kind": row.kind,
            "value": row.label and storable(row.label),
            "lead_time": row.lead_time,
            "updated_at": row.answered_at or seen_at,
            "reason": row.reason,
            "detail": row.detail and f"{row.where}: {row.detail}",
        }
        for row in rows
    ]
    columns = [*ANSWER_COLUMNS, "reason", "detail"]
    return pd.DataFrame(table, columns=columns, dtype=object)


def _samples_of(connection: Connection, source: str) -> set[str]:
    """The samples that answers of this source in force are about."""
    mine = answers.c.source == source, answers.c.replaced_at.is_(None)
    return set(connection.scalars(select(answers.c.sample_id).where(*mine)))


def _refuse_namesake(connection: Connection, file: LabelFile, gone: int) -> None:
    """Stop before another file of the same name would withdraw what this one never said."""
    before = watermark_of(connection, file.source)
    if gone and before not in (None, _place(file)):
        raise ValueError(
            f"{file.path}: {before} of the same name was imported before, and {gone} of its "
            f"samples are not in this one, so their answers would be withdrawn; rename this one if "
            "it is another list, or put it there if it is the same one, edited"
        )


def _place(file: LabelFile) -> str:
    return storable(str(file.path.resolve()))


def _outcome(
    matched: Matched, rows: Sequence[Row], *, new: int, of: int, gone: int
) -> dict[str, Any]:
    return {
        "new": new,
        "known": of - new,
        "withdrawn": gone,
        "refused": dict(Counter(row.reason for row in rows if row.reason)),
        "unlabelled": sum(row.says_nothing for row in matched.rows),
        "problems": problems(rows),
    }
