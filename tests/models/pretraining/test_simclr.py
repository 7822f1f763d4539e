"""A network taught without labels tells apart what it was never told the names of."""

import numpy as np
import pytest
import torch

from models.pretraining import simclr
from models.pretraining.simclr import VIEW, nt_xent, small_encoder, train_simclr, two_views


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch):
    monkeypatch.setattr(simclr, "MIN_STEPS", 2)


@pytest.fixture
def images():
    """Noise with bars, half of them upright and half lying, of any colour."""
    rng = np.random.default_rng(0)
    found = rng.integers(0, 60, (64, 3, 32, 32))
    for number, image in enumerate(found):
        bars = image.transpose(0, 2, 1) if number % 2 else image
        bars[:, :, rng.integers(0, 4) :: 4] += rng.integers(60, 190, (3, 1, 1))
    return torch.from_numpy(found.astype(np.uint8))


def test_two_views_are_seeded_pixels_that_differ_from_each_other(images):
    once, again, other = (two_views(images, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert once.shape == (128, 3, VIEW, VIEW) and once.dtype == torch.float32
    assert torch.equal(once, again) and not torch.equal(once, other)
    assert not torch.equal(once[:64], once[64:])
    assert torch.isfinite(once).all() and once.min() > -200 and once.max() < 700


def test_the_loss_is_least_when_the_two_views_at_an_image_agree():
    said = torch.eye(8).repeat(2, 1)
    mixed = torch.cat([torch.eye(8), torch.eye(8).roll(1, 0)])
    assert nt_xent(said) < 0.1 < nt_xent(mixed)
    assert torch.allclose(nt_xent(5 * said), nt_xent(said))  # only directions count
    assert abs(nt_xent(torch.ones(16, 4)) - np.log(15)) < 1e-5


def test_what_was_taught_is_seeded_and_ready_to_be_asked(images, monkeypatch):
    monkeypatch.setattr(simclr, "EPOCHS", 2)
    bodies = [train_simclr(images, seconds=600, seed=seed) for seed in (1, 1, 2)]
    assert [epochs for _, epochs in bodies] == [2, 2, 2]
    states = [torch.cat([part.flatten().float() for part in body.state_dict().values()])
              for body, _ in bodies]  # fmt: skip
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])
    assert not bodies[0][0].training


def test_no_time_is_kept_to_and_teaches_nothing(images):
    body, epochs = train_simclr(images, seconds=0, seed=0)
    torch.manual_seed(0)
    assert epochs == 0
    assert torch.equal(next(body.parameters()), next(small_encoder().parameters()))


def test_the_random_state_of_the_caller_is_left_alone(images):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    train_simclr(images[:8], seconds=0, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_alike_to_the_eye_comes_to_lie_together(images):
    body, _ = train_simclr(images, seconds=60, seed=0)
    with torch.inference_mode():
        rows = torch.nn.functional.normalize(
            body(images.float() / 255) - body(images.float() / 255).mean(0)
        )
    near = (rows @ rows.T).fill_diagonal_(-1).argmax(1)
    assert (near % 2 == torch.arange(64) % 2).float().mean() > 0.9


def test_a_training_reports_its_steps_and_how_many_are_expected(images: torch.Tensor) -> None:
    shown: list[tuple[int, int]] = []
    train_simclr(
        images, seconds=2, seed=0, on_progress=lambda done, total: shown.append((done, total))
    )
    assert [done for done, _ in shown] == list(range(1, len(shown) + 1))
    assert all(done < total for done, total in shown)
