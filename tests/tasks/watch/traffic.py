"""A workspace with a champion of a known reference, and served rows that look like it or do not."""

from pathlib import Path

import numpy as np
from sqlalchemy import Engine, func, select

from core import journal
from core.database import now, writing
from models.registry.model_store import save_model
from models.scoring.predict import Predictions
from models.serving.prediction_store import HALF, predictions
from settings import Settings
from tasks.context import Context
from tests.models.saved_models import make_card, make_network, make_workspace, put_in_service

REFERENCE = 300  # rows
WIDTH = 512  # of the network's embeddings
SHIFTED = 3.0


def make_context(root: Path, monkeypatch: object) -> Context:
    """A workspace with one model in service; HONE_WORKSPACE names it."""
    workspace, engine = make_workspace(root / "workspace")
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))  # type: ignore[attr-defined]
    ctx = Context(Settings(), workspace, engine)
    release_model(ctx, seed=0)
    return ctx


def release_model(ctx: Context, seed: int, shift: float = 0.0) -> str:
    """Put a new model in service whose held-out rows look like traffic of this shift."""
    version = save_model(
        ctx.engine,
        ctx.workspace.bento_home,
        make_network(seed),
        make_card(seed=seed),
        rows_like(REFERENCE, shift, seed=1000 + seed),
        [f"ref{row}" for row in range(REFERENCE)],
    )
    put_in_service(ctx.engine, version)
    return version


def rows_like(count: int, shift: float, seed: int) -> Predictions:
    """Predictions of images that differ from the first model's by `shift`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, 3)) + np.array([shift, 0.0, 0.0])
    outputs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    embeddings = rng.normal(size=(count, WIDTH)) + shift
    return Predictions(outputs.astype(np.float32), embeddings.astype(np.float32))


def serve(
    engine: Engine, model: str, count: int, *, shift: float = 0.0, broken: int = 0, seed: int = 0
) -> None:
    """Record predictions as if they had been drained; the first `broken` ones hold no numbers."""
    with engine.connect() as connection:
        last = connection.scalar(select(func.max(predictions.c.seq))) or 0
    serve_rows(engine, model, rows_like(count, shift, seed=last + seed), broken=broken)


def serve_rows(engine: Engine, model: str, made: Predictions, *, broken: int = 0) -> None:
    """Record these predictions as if they had been drained."""
    with writing(engine) as connection:
        last = connection.scalar(select(func.max(predictions.c.seq))) or 0
        rows = [
            {
                "prediction_id": f"p{last + number}",
                "seq": last + number,
                "request_id": f"r{last + number}",
                "model": model,
                "sample_id": f"{last + number:064x}",
                "segment": "x.seg",
                "offset": 0,
                "length": 1,
                "label": "cat",
                "confidence": float(output.max()),
                "probabilities": [] if number <= broken else output.round(6).tolist(),
                "needs_review": False,
                "served_at": now(),
                "embedding": embedding.astype(HALF).tobytes(),
            }
            for number, (output, embedding) in enumerate(
                zip(made.outputs, made.embeddings, strict=True), start=1
            )
        ]
        journal.insert(connection, predictions, rows)
