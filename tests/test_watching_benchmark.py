"""Each measurement of `benchmarks/watching.py` runs, at a tiny size, on images made here."""

import argparse
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.watch import cost, estimate, features, kinds, mmd, power, quarters, shifts
from benchmarks.watch.features import SHIFTS, Pool, Sizes, pools
from benchmarks.watch.peers import PEERS
from benchmarks.watch.traffic import KINDS

SIZES = Sizes(clean=60, shifted=20, scenes=20, stills=40, taught=60)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """The reported pool of a set of ten classes of coloured noise."""
    root, rng = tmp_path_factory.mktemp("sets"), np.random.default_rng(0)
    for name in ("one", "other"):
        for number in range(10):
            folder = root / name / str(number)
            folder.mkdir(parents=True)
            for image in range(20):
                noise = rng.normal(20 * number + 20, 30, (32, 32, 3)).clip(0, 255)
                Image.fromarray(noise.astype(np.uint8)).save(folder / f"{image}.png")
    made = pools(root / "one", root / "other", root / "cache", None, SIZES)
    assert len(list((root / "cache").iterdir())) == 1
    again = pools(root / "one", root / "other", root / "cache", None, SIZES)
    assert np.array_equal(made[1].clean.outputs, again[1].clean.outputs)
    return made[1]


GIVEN = argparse.Namespace(lives=1, hours=3, use="report", images=60, peers=[*PEERS])


def test_quarters_count_the_alarms_of_every_kind_of_traffic(pool: Pool) -> None:
    assert set(quarters.measure(pool, GIVEN)) == set(KINDS)


def test_shifts_are_measured_for_the_test_and_its_peers(pool: Pool) -> None:
    shares = shifts.measure(pool, GIVEN)
    assert {"accumulating test", "BBSDs KS", "PSI", "MMD", "classifier"} < set(shares)
    assert all(0 <= share <= 1 for share in shares.values())
    assert set(pool.shifted) == {change for change, _ in SHIFTS.values()}


def test_power_and_cost_are_measured(pool: Pool, capsys: pytest.CaptureFixture[str]) -> None:
    assert all(len(each) == 1 for each in power.measure(pool, GIVEN).values())
    assert cost.measure(pool, GIVEN)["state"] < 60_000
    assert "rows: test" in capsys.readouterr().out


def test_kinds_estimates_and_mmd_are_measured(
    pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = list(kinds.rows(pool, 1))
    assert {row["planted"] for row in measured} > {"covariate shift", "prior shift"}
    assert all(0 <= row["right"] <= 1 for row in measured)
    assert [row["change"] for row in estimate.rows(pool, 1)][-2:] == ["all", "concept"]
    mmd.measure(pool, GIVEN)
    assert "times as long" in capsys.readouterr().out


def test_pictures_are_changed_as_their_names_say() -> None:
    rng = np.random.default_rng(1)
    picture = rng.integers(60, 190, (32, 32, 3)).astype(np.uint8)
    for name, change in features.CHANGES.items():
        changed = change(picture, rng)
        assert changed.dtype == np.uint8
        assert name == "jpeg" or changed.shape != picture.shape or (changed != picture).any()
    assert Path(features.__file__).name == "features.py"
