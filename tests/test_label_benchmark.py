"""Each part of `benchmarks/label_efficiency.py` runs, at a tiny size, on images made here."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import label_efficiency
from benchmarks.labels import oracle, pretrained, report, simclr
from benchmarks.labels.features import aside_of, data_set, near_copies
from benchmarks.labels.head import Head
from benchmarks.labels.play import ORACLE, RANDOM, play
from benchmarks.labels.regimes import COPIES, REGIMES, DataSet, problem_of
from benchmarks.labels.sets import image_set
from models.network.weights import lite0_installed
from tests.source_code import ROOT

LOW, MID, LONGTAIL, REDUNDANT, LOOP = REGIMES


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of coloured noise, 36 images each."""
    root, rng = tmp_path_factory.mktemp("set"), np.random.default_rng(0)
    for number, name in enumerate("abc"):
        (root / name).mkdir()
        for image in range(36):
            noise = rng.normal(60 * number + 40, 40, (12, 12, 3)).clip(0, 255)
            Image.fromarray(noise.astype(np.uint8)).save(root / name / f"{image:02}.png")
    return root


def mixture(images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points around one centre for each of three classes, as long as one."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(3, size=images)
    points = np.eye(3, 6)[classes] + rng.normal(0, 0.35, (images, 6))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32), classes


@pytest.fixture(scope="module")
def data() -> DataSet:
    features, classes = mixture(1_000, 0)
    test_features, test_classes = mixture(300, 1)
    copied = np.arange(0, 1_000, 2)
    copies = np.repeat(features[copied][:, None], COPIES, axis=1)
    return DataSet(features, classes, test_features, test_classes, copies, copied)


def test_a_set_of_two_classes_has_28_of_100_of_the_named(source: Path) -> None:
    whole, two = image_set(str(source)), image_set(f"{source}:b+c")
    assert whole.is_test.sum() == 18 and len(whole.rows) == 108
    assert abs(two.classes[two.rows].mean() - 0.28) < 0.02
    assert two.fingerprint == whole.fingerprint
    with pytest.raises(SystemExit, match="no class 'd'; it has a, b, c"):
        image_set(f"{source}:d")


@pytest.fixture
def pixels(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pixels in the place of a network's features; the numbers of images that it was given."""
    counts: list[int] = []

    def encode(images: list[np.ndarray]) -> np.ndarray:
        counts.append(len(images))
        return np.stack([image.reshape(-1) for image in images]).astype(np.float32)

    monkeypatch.setattr("benchmarks.labels.features._encoder", lambda *_: encode)
    return counts


def test_simclr_teaches_a_network_without_labels(source: Path) -> None:
    images = image_set(str(source)).read(range(0, 108, 6))
    encode = simclr.encoder(images, simclr.Recipe(epochs=1, width=4, batch=9))
    features = encode(images)
    assert features.shape == (18, 16) and np.isfinite(features).all()
    mirrored = encode([image[:, ::-1] for image in images])
    assert np.allclose(features, mirrored, atol=1e-2)


@pytest.mark.skipif(not lite0_installed(), reason="the extra pretrained is not installed")
def test_the_pretrained_network_tells_images_apart(source: Path) -> None:
    images = image_set(str(source))
    features = pretrained.encoder()(images.read(range(0, 108, 12)))
    assert features.shape == (9, 1280)
    apart = np.linalg.norm(features[:, None] - features, axis=2)
    classes = images.classes[::12]
    same = classes[:, None] == classes
    assert apart[same].mean() < apart[~same].mean()


def test_features_are_computed_once_and_keep_development_apart(
    source: Path, tmp_path: Path, pixels: list[int]
) -> None:
    images = image_set(str(source))
    reported = data_set(images, "simclr", tmp_path, epochs=1, development=False)
    computed = sum(pixels)
    assert computed == 108 + COPIES * len(reported.copied)
    developed = data_set(images, "simclr", tmp_path, epochs=1, development=True)
    aside = aside_of(images.is_test)
    assert len(reported.classes) == 90 - len(aside)
    assert (len(reported.test_classes), len(developed.test_classes)) == (18, len(aside))
    assert np.allclose(np.linalg.norm(reported.features, axis=1), 1, atol=1e-4)
    assert reported.copies.shape[:2] == (len(reported.copied), COPIES)
    two = data_set(image_set(f"{source}:b"), "simclr", tmp_path, epochs=1, development=False)
    assert two.features.shape[0] < len(reported.classes) and two.classes.max() == 1
    assert sum(pixels) == computed


def test_near_copies_are_near_and_no_copies() -> None:
    image = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    copies = near_copies([image], np.random.default_rng(1))
    assert len(copies) == COPIES
    assert all(copy.shape == image.shape and (copy != image).any() for copy in copies)


def test_the_same_seed_draws_the_same_problem(data: DataSet) -> None:
    for regime in (LOW, MID, LONGTAIL, REDUNDANT, LOOP):
        one, same, other = (problem_of(data, regime, seed) for seed in (0, 0, 1))
        assert one and same and other
        assert np.array_equal(one.features, same.features)
        assert one.steps[-1] <= 0.8 * len(one.classes)
        assert not one.steps[0] or not np.array_equal(one.start, other.start)
    tail = problem_of(data, LONGTAIL, 0)
    assert tail and np.bincount(tail.classes).max() > 50 * np.bincount(tail.classes).min()


def test_a_head_learns_and_the_oracle_beats_chance(data: DataSet) -> None:
    problem = problem_of(data, LOW, 0)
    assert problem
    head = Head(3).fit(problem.features, problem.classes)
    assert head.accuracy(problem.test_features, problem.test_classes) > 0.8
    best, chance = (play(problem, name, 0, 10.0)["accuracy"] for name in (ORACLE, "random"))
    assert np.mean(best[1:5]) > np.mean(chance[1:5]) + 0.02


def test_the_oracle_picks_what_lowers_the_error_of_a_ridge_most() -> None:
    features, classes = mixture(40, 3)
    labelled, free = np.arange(5), np.arange(5, 40)
    arguments = features[free], classes[free], features[labelled], classes[labelled]
    picked = free[oracle.greedy(*arguments, 3, np.random.default_rng(0))]

    def error(rows: np.ndarray) -> float:
        points = np.hstack([features, np.ones((40, 1))])
        moments = points[rows].T @ points[rows] + oracle.HELD * np.eye(7)
        weights = np.linalg.solve(moments, points[rows].T @ np.eye(3)[classes[rows]])
        return float(((points[free] @ weights - np.eye(3)[classes[free]]) ** 2).sum())

    rows = labelled
    for row in picked:
        best = min(free, key=lambda each: error(np.append(rows, each)))
        assert error(np.append(rows, row)) == pytest.approx(error(np.append(rows, best)), rel=1e-4)
        rows = np.append(rows, row)


def test_ratios_compare_labels_for_the_same_accuracy() -> None:
    steps = [0, 10, 20, 30, 40]
    chance = {seed: np.array([0.1, 0.2, 0.3, 0.4, 0.5]) for seed in range(4)}
    twice = {seed: np.array([0.1, 0.3, 0.5, 0.6, 0.7]) for seed in range(4)}
    assert report.ratio(steps, chance, twice).value == pytest.approx(2.0)
    assert report.ratio(steps, chance, chance).value == 1
    never = {seed: np.full(5, 0.2) for seed in range(4)}
    assert report.ratio(steps, chance, never).value == 0
    assert np.allclose(report.rising(np.array([1, 3, 2, 4, 0])), [1, 2.25, 2.25, 2.25, 2.25])


def test_the_single_strategy_for_a_seed_is_picked_on_the_others() -> None:
    steps = [0, 10, 20, 30, 40]
    rising, good = np.linspace(0.1, 0.5, 5), np.array([0.1, 0.3, 0.5, 0.6, 0.7])
    best = np.array([0.1, 0.5, 0.6, 0.7, 0.8])
    curves = {
        RANDOM[0]: dict.fromkeys(range(3), rising),
        "steady": dict.fromkeys(range(3), good),
        "lucky": {0: best, 1: rising, 2: rising},  # once
        "few": {0: best},
    }
    cell = report.Cell(("set", "features", "low"), steps, steps, curves)
    of_seeds = report.picked(cell, 2)
    assert [of_seeds[seed] is good for seed in range(3)] == [True, True, True]
    assert report.best_single(cell, 2) == "steady"
    assert report.regret(cell, "lucky", of_seeds).value < 1


def test_a_stopped_table_goes_on_where_it_was(
    source: Path, tmp_path: Path, pixels: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    out, picture = tmp_path / "lines.jsonl", tmp_path / "picture.png"
    arguments = [str(source), "--features", "simclr", "--epochs", "1", "--cache", str(tmp_path)]
    arguments += ["--out", str(out), "--processes", "1", "--seeds", "1", "--regimes", "low", "loop"]
    arguments += ["--strategies", *RANDOM[:2], "auto", "margin", ORACLE]
    label_efficiency.main(arguments)
    lines = out.read_text().splitlines()
    assert len(lines) == 2 * 5
    out.write_text("\n".join(lines[:3]) + "\n")
    label_efficiency.main([*arguments, "--picture", str(picture)])
    assert sorted(_without_time(out.read_text().splitlines())) == sorted(_without_time(lines))
    printed = capsys.readouterr().out
    assert "7 plays" in printed
    assert "| auto + student |" in printed and "| random + student |" in printed
    assert "| auto |" in printed and "random again" in printed
    assert "geometric mean of `auto` / best" in printed and "`auto` / picked" in printed
    assert "random and a plain head need so many times the labels" in printed
    with Image.open(picture) as image:
        assert image.size[0] > 300


def _without_time(lines: list[str]) -> list[str]:
    parsed = [json.loads(line) for line in lines]
    return [json.dumps({**line, "seconds": 0, "took": 0}) for line in parsed]


def test_the_published_table_says_what_its_lines_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every label ratio of `auto` in docs/measured-choosing.md, and their means."""
    monkeypatch.setattr(report, "RESAMPLES", 2)  # of the intervals, which are not looked at
    names = {"cifar10-jpeg": "CIFAR-10", "fashion-mnist": "Fashion-MNIST"}
    page = (ROOT / "docs/measured-choosing.md").read_text()
    lines = map(json.loads, (ROOT / "benchmarks/labels/measured.jsonl").open())
    of_set: dict[str, list[float]] = {}
    for cell in report.cells(lines):
        images, _, regime = cell.key
        if regime == report.LOOP:
            continue
        name = names.get(images, "two classes")
        ratio = cell.ratio("auto")
        assert ratio is not None and ratio.seeds == 10
        row = f"{name}, {regime.replace('longtail', 'long tail')}"
        assert f"| {row} | {ratio.value:.2f} [" in page
        of_set.setdefault(name, []).append(ratio.value)
    assert {len(ratios) for ratios in of_set.values()} == {4}
    for name, ratios in of_set.items():
        assert f"| {name} | {report.mean_of(ratios):.2f} |" in page
