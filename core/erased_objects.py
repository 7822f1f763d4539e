"""Objects of DVC that are taken away for good: out of the workspace, the cache and the remote."""

from collections.abc import Iterator
from pathlib import Path

from core.dvc_objects import DvcObject, ObjectStore
from core.files import sync_path


class ErasingStore(ObjectStore):
    """DVC's cache and remote of one workspace, of which an object can be dropped."""

    def has(self, wanted: DvcObject) -> bool:
        """Whether the cache or the remote has an object of this name, whole or not."""
        with self._explained("see that the remote answers"):
            return any(path.exists() for path in self._caches(wanted)) or self._is_there(wanted)

    def hold(self, wanted: DvcObject) -> None:
        """Have a file of the workspace whole in the cache and on the remote. Idempotent."""
        with self._explained("see that the remote answers and has room"):
            self._cache_copy(wanted, self.root / wanted.path)
            if not self._is_whole(wanted):
                self._send(wanted)
            self._settle([wanted])

    def drop(self, wanted: DvcObject) -> None:
        """Have no copy of an object here, in the cache or on the remote. Idempotent."""
        for path in (self.root / wanted.path, *self._caches(wanted)):
            if path.exists():
                path.unlink()
                sync_path(path.parent)
        with self._explained("see that the remote answers and lets objects be deleted"):
            if self._is_there(wanted):
                self._remote.fs.remove(self._remote.oid_to_path(wanted.md5))

    def copies(self, wanted: DvcObject) -> Iterator[str]:
        """Each place that has an object of this name."""
        for path in (self.root / wanted.path, *self._caches(wanted)):
            if path.exists():
                yield str(path)
        with self._explained("see that the remote answers"):
            if self._is_there(wanted):
                yield f"{self._remote.oid_to_path(wanted.md5)} on the DVC remote"

    def _caches(self, wanted: DvcObject) -> set[Path]:
        return {self._usual(wanted), Path(self._repo.cache.local.oid_to_path(wanted.md5))}

    def _is_there(self, wanted: DvcObject) -> bool:
        return bool(self._remote.fs.exists(self._remote.oid_to_path(wanted.md5)))
