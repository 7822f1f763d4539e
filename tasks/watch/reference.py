"""What a champion is watched against: its held-out rows, and traffic that counts as known since."""

import hashlib
import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd
from PIL import Image

from core.files import write_atomically
from core.image_statistics import STATISTICS, Container, statistics_of
from core.images import decode_image
from core.shards import read_image
from core.text import counted
from labeling.ledger.tables import location_of
from labeling.snapshots.publish import load_snapshot
from models.judging.corruptions import MOST_ROWS
from models.serving import prediction_store
from models.serving.traffic_window import new_traffic
from models.watching.decisions import DecisionRecord, known_windows
from models.watching.signals import Window
from models.watching.unseen_loss import Copies
from tasks.context import Context
from tasks.corrupted import corrupted_predictions
from tasks.predictions import REFERENCE, exact_cache
from tasks.watch.cascade import WHOLE, Division, falls_to, served_falls_to
from tasks.watch.window import WatchedTraffic, drawn_rows, window_of

if TYPE_CHECKING:
    from models.registry.model_store import LoadedModel
    from models.scoring.predict import Predictions

KNOWN_ROWS = 500  # of all known windows together: enough to weigh, and as cheap as a window
KNOWN_WINDOWS = 20  # the newest
STORED = ("outputs", "embeddings", "statistics", "groups")


@dataclass(frozen=True)
class Reference:
    """The rows of the reference, and what is missing of it as sentences."""

    window: Window
    known: tuple[str, ...] = ()  # decisions whose traffic is in it
    missing: tuple[str, ...] = ()
    copies: Copies | None = None  # corrupted ones of images that are here


def load_reference(ctx: Context, loaded: "LoadedModel", division: Division = WHOLE) -> Reference:
    """The model's held-out rows with labels and statistics, and the traffic known since.

    In a cascade those of them that would fall to this model.
    """
    missing: list[str] = []
    try:
        table = load_snapshot(ctx.engine, ctx.workspace, loaded.card.snapshot)
    except (OSError, ValueError) as error:
        what = f"the labels of {loaded.card.snapshot} cannot be read"
        missing.append(without_detail(what, error))
        table = None
    base, rows = _held_out(ctx, loaded, table, division, missing)
    with ctx.engine.connect() as connection:
        rounds = [] if table is None else table["round_id"].dropna().unique().tolist()
        known = known_windows(connection, rounds)[:KNOWN_WINDOWS]
    parts = list(_known(ctx, loaded, known, missing, division))
    names = tuple(one.decision_id for one in known)
    copies = None if rows is None or base.broken else _copies(ctx, loaded, rows, missing)
    return Reference(joined(base, parts), names, tuple(missing), copies)


def joined(base: Window, known: Sequence[Window]) -> Window:
    """The held-out rows and those of known traffic in one window; groups stay apart."""
    windows, first = list[Window](), 0
    for number, one in enumerate((base, *known)):
        size = len(one.outputs)
        groups = np.unique(one.groups, return_inverse=True)[1] + first
        first = int(groups.max(initial=first - 1)) + 1
        labels = np.full(size, -1) if one.labels is None else one.labels
        sources = np.full(size, "", object) if one.sources is None else one.sources
        windows.append(
            replace(
                one, groups=groups, labels=labels, sources=sources, known=np.full(size, number > 0)
            )
        )
    names = ("outputs", "embeddings", "statistics", "groups", "labels", "sources", "known")
    rows = {name: np.concatenate([getattr(one, name) for one in windows]) for name in names}
    return Window(**rows, broken=sum(one.broken for one in windows))


def _held_out(
    ctx: Context,
    loaded: "LoadedModel",
    table: pd.DataFrame | None,
    division: Division,
    missing: list[str],
) -> tuple[Window, pd.DataFrame | None]:
    """The rows that the model did not train on, as the service would have recorded them.

    And these rows of the snapshot, where they are in it and the model answers all.
    """
    predictions = prediction_store.as_recorded(loaded.reference)
    ids = list(loaded.reference_ids)
    rows = None
    if table is not None and len(ids) == len(predictions.outputs):
        rows = table.drop_duplicates("sample_id").set_index("sample_id").reindex(ids)
        predictions = _by_its_runtime(ctx, loaded, rows.reset_index(), predictions, missing)
    labels, statistics = None, None
    groups = np.arange(len(predictions.outputs))
    if rows is not None:
        classes = pd.Index(loaded.card.classes)
        labels = classes.get_indexer(pd.Index(rows["label"].astype(str)))
        statistics = _statistics(ctx, loaded, rows)
        groups = pd.factorize(rows["group_id"].fillna(pd.Series(ids, rows.index)))[0]
    try:
        mine = falls_to(ctx, division, loaded, predictions.outputs, rows)
    except (OSError, ValueError) as error:
        what = f"what the front model {division.front} leaves to {loaded.version} is not known"
        missing.append(without_detail(what, error))
        mine = np.zeros(len(groups), bool)  # compared with all rows, traffic would look drifted
    window = Window.of(
        predictions.outputs[mine],
        predictions.embeddings[mine],
        None if statistics is None else statistics[mine],
        groups[mine],
        labels=None if labels is None else labels[mine],
    )
    return window, rows if division.front is None else None


def _copies(
    ctx: Context, loaded: "LoadedModel", rows: pd.DataFrame, missing: list[str]
) -> Copies | None:
    """What the champion says of corrupted copies of the first images with labels."""
    places = np.flatnonzero(rows["label"].notna())[:MOST_ROWS]
    if not len(places):
        return None
    try:
        made = corrupted_predictions(ctx, loaded, rows.iloc[places].reset_index())
    except (OSError, ValueError, TypeError, KeyError) as error:
        missing.append(without_detail("images of the reference cannot be read", error))
        return None
    recorded = {kind: prediction_store.as_recorded(one) for kind, one in made.items()}
    return Copies(
        places,
        {kind: one.outputs for kind, one in recorded.items()},
        {kind: one.embeddings for kind, one in recorded.items()},
    )


def _by_its_runtime(
    ctx: Context,
    loaded: "LoadedModel",
    rows: pd.DataFrame,
    stored: "Predictions",
    missing: list[str],
) -> "Predictions":
    """The predictions for the rows by the runtime that serves the model, computed once.

    Those stored with the model, which torch made, where that is the runtime or images are not here.
    """
    from models.scoring.stored import predict_missing

    if loaded.runtime is None:
        return stored
    try:
        with exact_cache(ctx, loaded) as cache:
            threads = ctx.settings.threads
            made = predict_missing(loaded, rows, ctx.workspace.shards, cache, threads=threads)
    except (OSError, ValueError, TypeError) as error:
        what = f"torch predicted the held-out images, {loaded.runtime.name} the traffic"
        missing.append(without_detail(what, error))
        return stored
    return prediction_store.as_recorded(made)


def _statistics(ctx: Context, loaded: "LoadedModel", rows: pd.DataFrame) -> np.ndarray:
    """The image statistics of the held-out rows, computed once for each model."""
    ids = "\n".join([*STATISTICS, *rows.index.astype(str)])
    path = _cache(ctx, loaded) / f"{hashlib.sha256(ids.encode()).hexdigest()[:16]}.npy"
    stored = _stored(path, len(rows))
    if stored is not None:
        return stored
    size = loaded.card.image_size
    table = np.full((len(rows), len(STATISTICS)), np.nan, np.float32)
    is_whole = True
    for number, row in enumerate(rows.itertuples()):
        place = None
        try:
            place = location_of(row)
            content = read_image(ctx.workspace.shards, place)
        except (OSError, ValueError, TypeError, AttributeError):
            # NaN: the image is not here, and is measured by its output alone
            is_whole &= place is None or (ctx.workspace.shards / place.shard).exists()
            continue
        table[number] = image_statistics(content, size)
    if is_whole:  # shards that are away come back with `dvc pull`
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: np.save(file, table))
    return table


def image_statistics(content: bytes, image_size: int) -> np.ndarray:
    """The statistics of a stored image, as the service computes those of a received one."""
    from models.network.images import prepare

    pixels = decode_image(content)
    prepared = prepare(pixels, image_size).permute(1, 2, 0).numpy()
    height, width = pixels.shape[:2]
    with Image.open(io.BytesIO(content)) as image:
        kind = image.format
    return statistics_of(prepared, Container(width, height, len(content), kind))


def _stored(path: Path, rows: int) -> np.ndarray | None:
    """What was computed before; None where it is not there or damaged."""
    try:
        table = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    right = table.shape == (rows, len(STATISTICS)) and table.dtype == np.float32
    return cast(np.ndarray, table) if right else None


def _cache(ctx: Context, loaded: "LoadedModel") -> Path:
    return ctx.workspace.scores / f"{loaded.version.replace(':', '-')}{REFERENCE}"


def without_detail(what: str, error: Exception) -> str:
    """What failed, as it may be recorded and sent; the details, a path perhaps, are printed."""
    print(f"{what}: {error}")
    return f"{what} ({type(error).__name__}; the output of the run has the details)"


def _known(
    ctx: Context,
    loaded: "LoadedModel",
    known: Sequence[DecisionRecord],
    missing: list[str],
    division: Division,
) -> Iterator[Window]:
    """Rows of each known window, as the champion predicts them."""
    for one in known:
        try:
            window, gone = _traffic_of(ctx, loaded, one, KNOWN_ROWS // len(known), division)
        except (OSError, ValueError) as error:
            missing.append(
                without_detail(f"the traffic of {one.decision_id} cannot be read", error)
            )
            continue
        if gone:
            missing.append(
                f"{counted(gone, 'image')} of the traffic of {one.decision_id} "
                f"{'is' if gone == 1 else 'are'} gone and left out"
            )
        yield window


def _traffic_of(
    ctx: Context, loaded: "LoadedModel", one: DecisionRecord, limit: int, division: Division
) -> tuple[Window, int]:
    """Rows of a window as the champion predicts them, and how many images of them are gone.

    Where another model answered they are computed once, from the bytes received.
    """
    key = loaded.runtime.key if loaded.runtime else ""
    made_by = f"-{hashlib.sha256(key.encode()).hexdigest()[:8]}" if key else ""
    path = _cache(ctx, loaded) / f"{one.decision_id}-{limit}{made_by}{division.suffix}.npz"
    is_recorded = one.model == loaded.version and division.front is None
    if not is_recorded and (stored := _stored_window(path)) is not None:
        return stored
    with ctx.engine.connect() as connection:
        traffic = new_traffic(connection, one.model, one.first_seq - 1, one.last_seq)
        if division.front == loaded.version:  # a known drift of the cascade reached both models
            fronts = new_traffic(connection, loaded.version, one.first_seq - 1, one.last_seq)
            traffic = fronts if fronts.rows else traffic
    rows = drawn_rows(ctx, traffic, limit)
    if is_recorded:
        return window_of(ctx, loaded, rows)[0], 0
    there = rows[[_is_there(ctx, row) for row in rows.itertuples()]].reset_index(drop=True)
    gone = len(rows) - len(there)
    if gone and not len(there):
        raise ValueError(f"none of its {gone} images is there: erased, or their segment is away")
    window = served_falls_to(
        ctx, division, loaded, WatchedTraffic(traffic, *window_of(ctx, loaded, there))
    )
    arrays = {name: getattr(window, name) for name in STORED}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: np.savez(file, gone=gone, **arrays))
    return window, gone


def _is_there(ctx: Context, row: object) -> bool:
    """Whether the bytes that were received are still as they were."""
    try:
        prediction_store.read_served_image(ctx.workspace.traffic, row)
    except (OSError, ValueError):
        return False
    return True


def _stored_window(path: Path) -> tuple[Window, int] | None:
    """What was computed before; None where it is not there or damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return Window(**{name: stored[name] for name in STORED}), int(stored["gone"])
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None
