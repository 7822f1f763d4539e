"""Labels from elsewhere become answers, or gold: read, matched to samples, checked, recorded.

A label file is one set of answers: importing it again changes nothing, importing it edited replaces
its answers, and the history stays. A row that is no answer is refused with its place, the cause and
the remedy, and the rest goes on.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from sqlalchemy import Connection, Engine

from core.database import now
from core.hone_toml import plain_name
from core.locks import Token
from core.text import listed, short, storable
from core.workspace import Workspace
from labeling.audit.numbers import AuditPolicy
from labeling.formats import READERS
from labeling.formats.image_lookup import Absent, is_sample_id, take_images
from labeling.formats.import_result import ImageCounts, RecordedRows, recorded_rows
from labeling.formats.rows import LabelFile, Row, same_name
from labeling.ingest.intake import USUAL_AUDIT
from labeling.kinds import Kind
from labeling.ledger.answers import ANSWER_COLUMNS, known_samples, record_answers
from labeling.ledger.gold import add_gold, audited
from labeling.ledger.image_queries import samples_answered_by
from labeling.ledger.reasons import AnswerKind
from labeling.ledger.watermarks import watermark_of

# What becomes part of a key: PostgreSQL refuses one of more than 2,704 bytes, and all rows with it.
LONGEST_ANNOTATOR = 254  # characters, as of an e-mail address
LONGEST_KEY = 500  # bytes of an image's name; a longer one is known by its SHA-256


@dataclass(frozen=True)
class Matched:
    """A label file whose images are samples, as far as possible."""

    file: LabelFile
    rows: list[Row]  # with our sample_id, or with the reason why they are no answer
    images: ImageCounts


def read_labels(
    path: Path, classes: Sequence[str], kind: Kind, format: str | None = None
) -> LabelFile:
    """The rows of a label file, in the format named or else in the one it looks like."""
    path = Path(path).expanduser()
    if not path.exists():
        raise ValueError(f"{path} does not exist; name a label file, or a class-per-folder tree")
    name = format or detect_format(path)
    if name not in READERS or name not in kind.formats:
        known = [one for one in READERS if one in kind.formats]
        raise ValueError(f"format is {name!r}; choose from {', '.join(known)}")
    return READERS[name](path, classes, kind)


def detect_format(path: Path) -> str:
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
        f"{path}: its name does not show its format; give --format one of {', '.join(READERS)}"
    )


def match(
    engine: Engine,
    workspace: Workspace,
    file: LabelFile,
    *,
    folder: Path | None = None,
    allow_outside: bool = False,
    processes: int = 1,
    audit: AuditPolicy = USUAL_AUDIT,
) -> Matched:
    """Ingest the images that the file names, relative to `folder` or else to its own folder."""
    with engine.connect() as connection:
        named = {row.sample_id for row in file.rows if is_sample_id(row.sample_id)}
        ours = set(known_samples(connection, sorted(map(str, named))))
    names = dict.fromkeys(row.image for row in file.rows if row.sample_id not in ours)
    ingested = take_images(
        engine,
        workspace,
        [name for name in names if name],
        folder=_image_folder(file, folder),
        allow_outside=allow_outside,
        processes=processes,
        audit=audit,
    )
    rows = [_with_sample(row, ours, ingested.samples) for row in file.rows]
    absent = [one for one in ingested.samples.values() if isinstance(one, Absent)]
    known = max(len(ours) + len(ingested.samples) - len(absent) - ingested.added, 0)
    refused = dict(Counter(one.reason for one in absent))
    return Matched(file, rows, ImageCounts(added=ingested.added, known=known, refused=refused))


def record_import(
    engine: Engine, token: Token, matched: Matched, classes: Sequence[str]
) -> RecordedRows:
    """Record the rows of the file as answers; return what became of them.

    Safe to repeat. Answers that the file had when it was imported before, and has no more, are
    withdrawn.
    """
    source = matched.file.source
    rows = checked(matched, classes)
    valid = _answers(source, (row for row in rows if not row.reason))
    with engine.connect() as connection:
        before = samples_answered_by(connection, source)
        gone = before - {row.sample_id for row in matched.rows}
        _refuse_namesake(connection, matched.file, len(gone))
    counts = record_answers(
        engine,
        token,
        valid,
        source=source,
        read=before | set(valid["sample_id"]),
        refused=_answers(source, (row for row in rows if row.reason)),
        classes=classes,
        watermark=_place(matched.file),  # where this set was read, to know it again
    )
    return recorded_rows(
        rows,
        new=counts["new"],
        valid=len(valid),
        withdrawn=counts["withdrawn"],
        unlabelled=_unlabelled(matched),
    )


def record_gold(
    engine: Engine, token: Token, matched: Matched, classes: Sequence[str]
) -> RecordedRows:
    """Record the rows of the file as known classes; return what became of them.

    Annotators must agree on a gold sample, and an audit sample never becomes gold.
    """
    rows = [row for row in checked(matched, classes) if row.kind != AnswerKind.SKIP]
    with engine.connect() as connection:
        in_audit = audited(connection, {row.sample_id for row in rows if row.sample_id})
    labels: dict[str | None, set[str | None]] = defaultdict(set)
    for row in rows:
        labels[row.sample_id] |= set() if row.reason else {row.label}
    rows = [_as_gold(row, in_audit, labels) for row in rows]
    truths = {str(row.sample_id): row.label for row in rows if not row.reason}
    series = pd.Series(truths, index=pd.Index(list(truths), dtype=object), dtype=object)
    new = add_gold(engine, token, series, source=matched.file.source)
    return recorded_rows(
        rows, new=new, valid=len(truths), withdrawn=0, unlabelled=_unlabelled(matched)
    )


def checked(matched: Matched, classes: Sequence[str]) -> list[Row]:
    """The rows with a label or a skip: with our classes and an annotator, or why they have none."""
    names = {**same_name(classes), **{name: name for name in classes}}
    remedy = f"the classes of hone.toml are {listed(classes)}; add it there, or correct the file"
    source = matched.file.source
    labelled = (row for row in matched.rows if not row.is_unlabelled)
    return _last_answers([_with_class(row, source, names, remedy) for row in labelled])


def _unlabelled(matched: Matched) -> int:
    return sum(row.is_unlabelled for row in matched.rows)


def _image_folder(file: LabelFile, folder: Path | None) -> Path:
    beside = file.path if file.path.is_dir() else file.path.resolve().parent
    where = beside if folder is None else Path(folder).expanduser()
    if not where.is_dir():
        raise ValueError(f"{where} is no folder; name the one that holds the images with --images")
    return where.resolve()


def _with_sample(row: Row, ours: set[str], samples: Mapping[str, str | Absent]) -> Row:
    """The row with its sample, or with the reason why it has none."""
    if row.sample_id in ours:
        return row
    sample = samples.get(row.image or "")
    if isinstance(sample, str):
        return row._replace(sample_id=sample)
    if sample is None:
        detail = f"sample {short(row.sample_id)} is not in this workspace; name its image file"
        sample = Absent("NO_SUCH_SAMPLE", detail)
    without = row._replace(sample_id=None)
    return without if row.reason or row.is_unlabelled else without._replace(**sample._asdict())


def _with_class(row: Row, source: str, names: Mapping[str, str], remedy: str) -> Row:
    """The row with its annotator and one of our classes."""
    annotator = storable(row.annotator or "").strip() or source
    row = row._replace(annotator=annotator[:LONGEST_ANNOTATOR])
    if len(annotator) > LONGEST_ANNOTATOR and not row.reason:
        detail = f"annotator {short(annotator)} has more than {LONGEST_ANNOTATOR} characters"
        return row._replace(reason="MALFORMED", detail=detail)
    if row.reason or row.kind == AnswerKind.SKIP:
        return row
    name = str(row.label)
    label = names.get(name) or names.get(plain_name(name))
    if label is None:
        return row._replace(reason="UNKNOWN_CLASS", detail=f"{short(name)} is no class; {remedy}")
    return row._replace(label=label)


def _last_answers(rows: Sequence[Row]) -> list[Row]:
    """The rows, all but the last answer of one annotator to one image refused.

    Last is the latest where times are known, else the one further down; a verdict comes after all.
    """
    good = [at for at, row in enumerate(rows) if not row.reason]
    good.sort(key=lambda at: (rows[at].kind == AnswerKind.FINAL, rows[at].answered_at or ""))
    last = {(rows[at].sample_id, rows[at].annotator): at for at in good}
    early = set(good) - set(last.values())
    detail = "the same annotator answers this image again; the last answer counts"
    return [
        row._replace(reason="REPEATED", detail=detail) if at in early else row
        for at, row in enumerate(rows)
    ]


def _as_gold(row: Row, in_audit: set[str], labels: Mapping[str | None, set[str | None]]) -> Row:
    if row.reason:
        return row
    if row.sample_id in in_audit:
        detail = "an audit sample measures the model and is never gold; leave it out"
        return row._replace(reason="AUDIT_SAMPLE", detail=detail)
    if len(labels[row.sample_id]) > 1:
        names = listed(sorted(map(str, labels[row.sample_id])))
        detail = f"its annotators say {names}, so neither is a known truth; keep one"
        return row._replace(reason="TWO_LABELS", detail=detail)
    return row


def _answers(source: str, rows: Iterable[Row]) -> pd.DataFrame:
    """The rows as the ledger takes them; one annotator's answer to one sample keeps its key."""
    imported_at = now()  # the time of answers in a file without times
    table = [
        {
            "source": source,
            "external_id": f"{row.sample_id or _key_of(row)}:{row.annotator}",
            "sample_id": row.sample_id,
            "annotator": row.annotator,
            "kind": row.kind,
            "value": row.label and storable(row.label),
            "lead_time": row.lead_time,
            "updated_at": row.answered_at or imported_at,
            "reason": row.reason,
            "detail": row.detail and f"{row.where}: {row.detail}",
        }
        for row in rows
    ]
    columns = [*ANSWER_COLUMNS, "reason", "detail"]
    return pd.DataFrame(table, columns=columns, dtype=object)


def _key_of(row: Row) -> str:
    """What a row without a sample is known by: the name of its image, or its place in the file."""
    name = storable(row.image or row.where).encode()
    return name.decode() if len(name) <= LONGEST_KEY else hashlib.sha256(name).hexdigest()


def _refuse_namesake(connection: Connection, file: LabelFile, gone: int) -> None:
    """Stop before a file withdraws the answers of another file of the same name."""
    before = watermark_of(connection, file.source)
    if gone and before not in (None, _place(file)):
        raise ValueError(
            f"{file.path}: {before} of the same name was imported before, and {gone} of its "
            f"samples are not in this one, so their answers would be withdrawn; rename this one if "
            "it is another list, or put it there if it is the same one, edited"
        )


def _place(file: LabelFile) -> str:
    return storable(str(file.path.resolve()))
