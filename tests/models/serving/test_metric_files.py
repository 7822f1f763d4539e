"""What dead workers counted is in one fold: bounded files, no number twice and none lost."""

import os
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector

from models.serving.metric_files import fold_dead, service_files, started_at

DEAD = 10**8  # beyond every process id
RESTARTS = 1_000


def count(folder: Path, pid: int, kind: str = "counter", **values: float) -> None:
    """What a worker writes that counted."""
    file = MmapedDict(str(folder / f"{kind}_{pid}.db"))
    for name, value in values.items():
        key = mmap_key("hone_images", name, ["outcome"], ["answered"], "Images.")
        file.write_value(key, file.read_value(key)[0] + value, 0.0)
    file.close()


def totals(folder: Path) -> Counter[str]:
    with service_files(folder) as files:
        merged = MultiProcessCollector.merge(files)
    return Counter({one.name: one.value for metric in merged for one in metric.samples})


def test_a_thousand_restarts_leave_a_few_files_and_counters_rise(tmp_path: Path) -> None:
    before = 0.0
    most = 0
    for restart in range(RESTARTS):
        count(tmp_path, DEAD + restart, images_total=2)
        count(tmp_path, DEAD + restart, "histogram", seconds_sum=0.5)
        (tmp_path / f"gauge_livesum_{DEAD + restart}.db").touch()
        if restart % 50 == 0:
            now = totals(tmp_path)["images_total"]
            assert now == before + (2 if restart == 0 else 100)
            before = now
        else:
            fold_dead(tmp_path)
        most = max(most, sum(len(names) for *_, names in os.walk(tmp_path)))
    assert totals(tmp_path) == {"images_total": 2 * RESTARTS, "seconds_sum": RESTARTS / 2}
    assert most <= 4  # the lock, the list and the two sums


def test_a_living_worker_counts_on_in_its_own_file(tmp_path: Path) -> None:
    count(tmp_path, os.getpid(), images_total=1)
    count(tmp_path, DEAD, images_total=1)
    assert totals(tmp_path)["images_total"] == 2
    count(tmp_path, os.getpid(), images_total=1)
    count(tmp_path, DEAD, images_total=5)  # a new worker that got the id of the dead one
    assert totals(tmp_path)["images_total"] == 8
    assert (tmp_path / f"counter_{os.getpid()}.db").exists()


class Killed(BaseException):
    """What ends a process here and now."""


@pytest.mark.parametrize("step", ["mkdir", "write_text", "rename", "unlink"])
@pytest.mark.parametrize("after", [False, True])
def test_a_kill_in_a_fold_counts_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    count(tmp_path, DEAD, images_total=3)
    fold_dead(tmp_path)
    count(tmp_path, DEAD + 1, images_total=4)
    count(tmp_path, DEAD + 2, images_total=5)
    real = getattr(Path, step)

    def killed(path: Path, *given: object, **named: object) -> object:
        if after:
            real(path, *given, **named)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Path, step, killed)
        with pytest.raises(Killed):
            fold_dead(tmp_path)
    assert totals(tmp_path) == {"images_total": 12}


def test_a_full_disk_leaves_the_files_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count(tmp_path, DEAD, images_total=3)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", lambda *_: (_ for _ in ()).throw(OSError(28, "no space")))
        assert totals(tmp_path) == {"images_total": 3}
    assert totals(tmp_path) == {"images_total": 3}


def test_all_workers_of_a_service_have_one_start(tmp_path: Path) -> None:
    first = started_at(tmp_path)
    assert started_at(tmp_path) == first
    (tmp_path / "later").mkdir()
    os.utime(tmp_path / "started", (1, 1))
    assert started_at(tmp_path) == 1.0
