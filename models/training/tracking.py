"""The record of a training: files in the workspace, mirrored to a W&B run that may fail."""

import json
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from core.files import write_atomically

METRICS, SUMMARY = "metrics.jsonl", "summary.json"
TRAINING = "training"  # job type of a run in W&B; the verdict on its model is one of its group
INIT_SECONDS = 5  # for W&B to answer; without a network it takes about three times as long
FINISH_SECONDS = 60  # for pending uploads; `wandb sync` sends the rest

log = logging.getLogger(__name__)


class Run:
    """The writer of a training's metrics, summary and artifacts.

    Everything is written to `folder` first. The first failure of W&B logs one warning and ends the
    mirror, never the training.
    """

    def __init__(self, folder: Path, mirror: Any) -> None:
        self.folder = folder
        self.mirrored_to = _address(mirror)
        self.mirror_failed = ""
        self._mirror = mirror
        self._summary: dict[str, object] = {}

    def log(self, row: Mapping[str, Any]) -> None:
        """Append one epoch's numbers to metrics.jsonl, fsynced when this returns."""
        with (self.folder / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(_plain(row), allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._send("the metrics", lambda mirror: mirror.log(dict(row)))

    def summarise(self, **numbers: Any) -> None:
        """Add numbers to the summary of the run."""
        self._summary |= numbers
        self._send("the summary", lambda mirror: mirror.summary.update(_plain(numbers)))

    def confusion(self, counts: np.ndarray, classes: Sequence[str]) -> None:
        """Add the confusion matrix: truths in rows, predicted classes in columns."""
        self._summary["confusion"] = {"classes": list(classes), "counts": counts.tolist()}
        self._send(
            "the confusion matrix",
            lambda mirror: mirror.log({"confusion": _chart(counts, classes)}),
        )

    def mistakes(self, pictures: Sequence[np.ndarray], captions: Sequence[str]) -> None:
        """Add the worst mistakes: captions to the summary, images to the mirror."""
        self._summary["mistakes"] = list(captions)

        def show(mirror: Any) -> None:
            import wandb

            pairs = zip(pictures, captions, strict=True)
            mirror.log({"mistakes": [wandb.Image(image, caption=text) for image, text in pairs]})

        self._send("the mistakes", show)

    def model(self, name: str, files: Sequence[Path], **metadata: Any) -> None:
        """Log the model's files as an artifact; an offline run keeps it for `wandb sync`."""

        def add(mirror: Any) -> None:
            import wandb

            artifact = wandb.Artifact(name, type="model", metadata=_plain(metadata))
            for file in files:
                artifact.add_file(str(file), policy="immutable")
            mirror.log_artifact(artifact)

        self._send("the model", add)

    def _send(self, what: str, act: Callable[[Any], object]) -> None:
        if self._mirror is None:
            return
        try:
            act(self._mirror)
        except Exception as error:  # W&B raises what its sockets, disk and server raise
            self._mirror = None
            self.mirror_failed = f"at {what}: {type(error).__name__}: {error}"
            _warn(what, error, self.folder)

    def _end(self, state: str) -> None:
        mirror = {"mirrored_to": self.mirrored_to, "mirror_failed": self.mirror_failed}
        summary = _plain({"state": state, **mirror, **self._summary})
        write_atomically(
            self.folder / SUMMARY, json.dumps(summary, indent=1, allow_nan=False).encode()
        )
        self._send("the end", lambda mirror: mirror.finish(exit_code=int(state != "finished")))


@contextmanager
def tracked_run(
    runs: Path,
    name: str,
    config: Mapping[str, Any],
    *,
    project: str = "hone",
    online: bool = False,
    api_key: str | None = None,
) -> Iterator[Run]:
    """A run recorded in `runs/name` and mirrored to W&B, offline unless `online` and with a key.

    A missing network delays it by seconds at most, and an error of W&B never ends it. Running again
    under the same name starts the record anew. All of W&B's own files stay under `runs`.
    """
    if api_key and api_key in json.dumps(_plain(config)):
        raise ValueError("the config of the run contains the W&B key; leave it out")
    runs = runs.resolve()
    folder = runs / name
    folder.mkdir(parents=True, exist_ok=True)
    for stale in (METRICS, SUMMARY):
        (folder / stale).unlink(missing_ok=True)
    write_atomically(folder / "config.json", json.dumps(_plain(config), indent=1).encode())
    _keep_under(runs)
    run = Run(folder, _open_mirror(folder, name, config, project, api_key if online else None))
    try:
        yield run
    except BaseException as error:
        run._end(f"failed: {type(error).__name__}: {error}")
        raise
    run._end("finished")


def add_verdict(
    runs: Path,
    version: str,
    figures: Mapping[str, Any],
    *,
    project: str = "hone",
    api_key: str | None = None,
) -> Path | None:
    """Add the figures of a verdict to the run that trained a version; return the run's folder.

    They come into its summary.json, and in W&B into a run of its group with the job type
    `verdict`: a run that was sent has ended. None where no run here trained it.
    """
    runs = runs.resolve()
    for path in sorted(runs.glob(f"*/{SUMMARY}"), reverse=True):
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:  # the file of another run, damaged
            continue
        if summary.get("version") == version:
            break
    else:
        return None
    if summary.get("verdict") == _plain(figures):
        return path.parent
    named = _plain({**summary, "verdict": figures})
    write_atomically(path, json.dumps(named, indent=1, allow_nan=False).encode())
    _keep_under(runs)
    about = {"version": version}
    mirror = _open_mirror(path.parent, path.parent.name, about, project, api_key, job="verdict")
    run = Run(path.parent, mirror)
    run._send("the verdict", lambda mirror: mirror.summary.update(_plain(figures)))
    run._send("the end", lambda mirror: mirror.finish())
    return path.parent


def _open_mirror(
    folder: Path,
    name: str,
    config: Mapping[str, Any],
    project: str,
    api_key: str | None,
    *,
    job: str = TRAINING,
) -> Any:
    """A W&B run: online with a key, else or on failure offline; None when both fail."""
    modes: list[Literal["online", "offline"]] = ["online", "offline"] if api_key else ["offline"]
    for mode in modes:
        try:
            return _init(mode, folder.parent, name, config, project, api_key, job)
        except Exception as error:  # wandb's own types would need its import
            _warn(f"starting {mode}", error, folder)
    return None


def _init(
    mode: Literal["online", "offline"],
    runs: Path,
    name: str,
    config: Mapping[str, Any],
    project: str,
    api_key: str | None,
    job: str,
) -> Any:
    import wandb

    settings = wandb.Settings(
        mode=mode,
        api_key=api_key,
        root_dir=str(runs),
        init_timeout=INIT_SECONDS,
        login_timeout=INIT_SECONDS,
        finish_timeout=FINISH_SECONDS,
        console="off",  # Prefect has the console
        silent=True,
        disable_git=True,  # the commit is in the config; W&B would record the workspace's
        disable_code=True,
        reinit="create_new",
    )
    title = name if job == TRAINING else f"{name}-{job}"
    return wandb.init(
        project=project, name=title, group=name, job_type=job, config=_plain(config),
        settings=settings,
    )  # fmt: skip


def _address(mirror: Any) -> str | None:
    if mirror is None:
        return None
    return str(Path(mirror.dir).parent) if mirror.offline else str(mirror.url)


def _keep_under(runs: Path) -> None:
    """Point W&B's caches and settings to `runs` instead of the home folder; no debug log.

    Permanently: W&B reads these variables at any time, also at exit and in other threads.
    """
    home = runs / "wandb-home"
    for part in ("DATA", "CACHE", "CONFIG"):
        os.environ[f"WANDB_{part}_DIR"] = str(home / part.lower())
    os.environ["WANDB_DIR"] = str(runs)
    os.environ["WANDB_ERROR_REPORTING"] = "false"
    for name in ("WANDB_DEBUG", "WANDB_CORE_DEBUG"):  # its debug log holds the key
        os.environ.pop(name, None)


def _chart(counts: np.ndarray, classes: Sequence[str]) -> Any:
    import wandb

    rows: list[Any] = [
        [truth, answer, int(counts[i, j])]
        for i, truth in enumerate(classes)
        for j, answer in enumerate(classes)
    ]
    return wandb.Table(columns=["truth", "answer", "rows"], data=rows)


def _warn(what: str, error: Exception, folder: Path) -> None:
    log.warning(
        "W&B failed at %s (%s: %s); the training goes on and its record is in %s. "
        "What W&B has already can be sent with `wandb sync`.",
        what,
        type(error).__name__,
        error,
        folder,
    )


def _plain(value: Any) -> Any:
    """The value in JSON's types; a number that is not finite is null."""
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | None) else str(value)
