"""What a model makes of an image, stored for the next request with the same bytes.

An entry holds what depends on the bytes, the model and its runtime alone. Whatever belongs to a
request (its id, its time, whether the answer needs review, a halt) is made anew for each, and each
answer is recorded. The key has the SHA-256 of the bytes that came, so no client can put an answer
under an image of another; and the SHA-256 of the model's files, so that no model answers for
another, however releases change. Images that were refused are not stored.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.serving import metrics

MEBIBYTE = 2**20
MOST_ENTRIES = 2**17  # however small each is: what one more costs the interpreter stays bounded
EAGER = "torch"  # the runtime of a model that was given none
OVERHEAD = 700  # bytes of an entry beside its numbers: keys, objects and their places


@dataclass(frozen=True)
class Maker:
    """What computes an answer: a model's files by their SHA-256, and the runtime they run in."""

    digest: str
    runtime: str = EAGER


@dataclass(frozen=True, eq=False)
class Computed:
    """What a model made of an image: the same for every request that brings the image."""

    maker: Maker
    output: np.ndarray
    embedding: bytes | None  # as recorded
    statistics: bytes | None  # of the image, as recorded

    @property
    def size(self) -> int:
        """The bytes that it takes in memory."""
        return (
            OVERHEAD + self.output.nbytes + len(self.embedding or b"") + len(self.statistics or b"")
        )


class AnswerCache:
    """Least recently used entries leave, so that bytes and entries stay within their bounds.

    A bound of 0 bytes stores nothing. Threads may use it at the same time.
    """

    def __init__(self, most_bytes: int, most_entries: int = MOST_ENTRIES) -> None:
        self._most_bytes, self._most_entries = most_bytes, most_entries
        self._entries: OrderedDict[tuple[str, Maker], Computed] = OrderedDict()  # oldest use first
        self._lock = threading.Lock()
        self._bytes = self._hits = self._misses = 0

    @property
    def is_on(self) -> bool:
        """Whether anything is ever stored."""
        return self._most_bytes > 0 and self._most_entries > 0

    def get(self, sample_id: str, maker: Maker) -> Computed | None:
        """What `maker` made of the image with this SHA-256; None where that is not known."""
        with self._lock:
            entry = self._entries.get((sample_id, maker))
            if entry is not None:
                self._entries.move_to_end((sample_id, maker))
            return entry

    def put(self, sample_id: str, computed: Computed) -> None:
        """Store what was made of the image; the least recently used entries make room."""
        if not self.is_on or computed.size > self._most_bytes:
            return
        with self._lock:
            former = self._entries.pop((sample_id, computed.maker), None)
            self._bytes += computed.size - (former.size if former else 0)
            self._entries[sample_id, computed.maker] = computed
            while self._bytes > self._most_bytes or len(self._entries) > self._most_entries:
                _, oldest = self._entries.popitem(last=False)
                self._bytes -= oldest.size

    def count(self, *, hit: bool) -> None:
        """Count an image that was looked up."""
        with self._lock:
            self._hits += hit
            self._misses += not hit
        metrics.count_lookup(hit=hit)

    def status(self) -> dict[str, Any] | None:
        """How the cache of this worker stands, as JSON; None of one that is off."""
        if not self.is_on:
            return None
        with self._lock:
            looked_up = self._hits + self._misses
            return {
                "hits": self._hits,
                "misses": self._misses,
                "hit_rate": round(self._hits / looked_up, 4) if looked_up else None,
                "entries": len(self._entries),
                "bytes": self._bytes,
                "most_bytes": self._most_bytes,
            }
