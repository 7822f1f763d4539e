"""TARGETS: each place that parses bytes from outside, and what it makes of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import feedback, readers, seeds, service, stored

Act = Callable[[bytes], object]  # what became of the bytes; a refusal is returned or raised


@dataclass(frozen=True)
class Target:
    """A parser: whole inputs, and how to open it in an empty folder of its own."""

    seeds: Callable[[], Sequence[bytes]]
    open: Callable[[Path], Act]
    lines: int = 20_000  # of Python that any input may take
    lines_per_byte: int = 40  # and for each byte more


TARGETS: dict[str, Target] = {
    "image": Target(seeds.images, service.image, lines=60_000),
    "form": Target(seeds.form, service.form, lines=60_000),
    "request head": Target(service.heads, service.head),
    "feedback": Target(feedback.bodies, feedback.body, lines_per_byte=80),
    "feedback record": Target(feedback.records, feedback.record),
    "callback": Target(feedback.callback_records, feedback.callback),
    "feedback file": Target(feedback.tables, feedback.table, lines_per_byte=80),
    "backend": Target(seeds.backend, service.backend, lines=60_000),
    "screen": Target(service.screens, service.screen),
    "staged image": Target(readers.addresses, service.staged_image),
    "webhook": Target(seeds.backend, service.webhook),
    "csv": Target(seeds.csv, readers.reader("csv")),
    "metadata": Target(seeds.metadata, readers.metadata),
    "coco": Target(seeds.coco, readers.reader("coco")),
    "label-studio": Target(seeds.exports, readers.reader("label-studio"), lines_per_byte=80),
    "import": Target(readers.label_files, readers.label_import, lines=400_000, lines_per_byte=800),
    "folder names": Target(stored.folder_names, readers.folders),
    "image names": Target(readers.addresses, readers.image_names, lines_per_byte=200),
    "collect": Target(seeds.answers, readers.collect, lines=400_000, lines_per_byte=800),
    "token": Target(readers.tokens, readers.token),
    "hone.toml": Target(readers.tomls, readers.hone_toml, lines=60_000, lines_per_byte=200),
    "segment": Target(stored.segments, stored.segment, lines=100_000, lines_per_byte=80),
    "record": Target(stored.records, stored.record, lines=100_000),
    "shadow record": Target(stored.shadow_records, stored.shadow),
    "safetensors": Target(stored.safetensors, stored.weights(".safetensors")),
    "state dict": Target(stored.state_dicts, stored.weights(".pth"), lines_per_byte=200),
    "model": Target(stored.models, stored.model, lines=400_000),
    "model card": Target(stored.cards, stored.card),
    "encoder": Target(stored.encoders, stored.encoder),
    "thumbnails": Target(stored.thumbnails, stored.thumbnail_index),
    "scores": Target(stored.scores, stored.score_cache, lines=60_000),
    "DVC note": Target(stored.notes, stored.note, lines_per_byte=4_000),
    "simulation": Target(stored.simulations, stored.simulation),
    "project note": Target(stored.project_notes, stored.project_note),
}
