"""Rows -> tensors: the same pixels whichever way they are asked for, and a seeded augmentation."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2.functional import resize

from core.shards import write_shard
from models.network.images import Images, augment, open_images, prepare
from tests.models.pictures import SIZE, encoded, picture, snapshot

SIDE = 12


def test_prepare_keeps_an_image_of_the_right_size_to_the_last_bit():
    image = picture("tall", np.random.default_rng(0))
    assert (prepare(image, SIZE).permute(1, 2, 0).numpy() == image).all()


@pytest.mark.parametrize("shape", [(30, 20), (7, 90), (8, 33), (4, 4), (1, 3), (100, 120)])
def test_prepare_gives_the_pixels_of_torchvisions_resize(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    wanted = resize(torch.from_numpy(image).permute(2, 0, 1), [SIZE, SIZE], antialias=True)
    assert torch.equal(prepare(image, SIZE), wanted)


def test_prepare_squeezes_the_whole_image_and_does_not_alias():
    image = np.zeros((30, 90, 3), np.uint8)
    image[:, ::2] = 255  # stripes of one pixel: without antialiasing they come out as stripes
    image[:, -10:] = 200  # at the border, where a crop would lose it
    small = prepare(image, 15)
    assert small.shape == (3, 15, 15) and small.dtype == torch.uint8
    assert (small[:, :, :12].int() - 128).abs().max() < 30
    assert (small[:, :, -1] > 190).all()


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))]
)
def test_prepare_refuses_what_is_no_8_bit_rgb(image):
    with pytest.raises(ValueError, match="uint8"):
        prepare(image, SIZE)


def test_images_are_the_same_kept_in_memory_or_decoded_anew_by_any_number_of_threads(tmp_path):
    table = snapshot(tmp_path, train=7, side=11)
    kept = open_images(table, tmp_path, SIZE)
    anew = open_images(table, tmp_path, SIZE, threads=3, memory_bound=0)
    assert kept.cached is not None and anew.cached is None
    rows = np.array([5, 0, 5, 6])
    assert torch.equal(kept.take(rows), anew.take(rows))
    assert torch.equal(torch.cat(list(anew.batches(3))), torch.cat(list(kept.batches(4))))


@pytest.mark.parametrize("waiting", [0, 4000, 2**23])
def test_images_of_any_size_are_what_prepare_makes_of_each(tmp_path, monkeypatch, waiting):
    monkeypatch.setattr("models.network.images._PENDING_BYTES", waiting)
    rng = np.random.default_rng(0)
    sizes = [(SIDE, SIDE), (30, 20), (3, 40), (30, 20), (SIDE, SIDE), (1, 1), (30, 20)]
    pictures = [rng.integers(0, 256, (*size, 3)).astype(np.uint8) for size in sizes]
    places = write_shard(tmp_path, [(f"{n}", encoded(one)) for n, one in enumerate(pictures)])
    images = Images(places, tmp_path, SIDE, threads=2, cached=None)
    decoded = images.decode(np.arange(len(sizes)))
    assert decoded.is_contiguous(memory_format=torch.channels_last)
    assert images.take(np.arange(len(sizes))).is_contiguous()
    for found, one in zip(decoded, pictures, strict=True):
        assert torch.equal(found, prepare(one, SIDE))


def test_more_images_than_fit_in_the_bound_are_not_kept(tmp_path):
    table = snapshot(tmp_path, train=4)
    size = 4 * 3 * SIZE**2
    assert open_images(table, tmp_path, SIZE, memory_bound=size).cached is not None
    assert open_images(table, tmp_path, SIZE, memory_bound=size - 1).cached is None


def test_a_table_without_rows_has_no_batches(tmp_path):
    images = open_images(snapshot(tmp_path, train=1).iloc[:0], tmp_path, SIZE)
    assert len(images) == 0 and list(images.batches(4)) == []


def test_a_damaged_image_is_refused_by_the_name_of_its_shard(tmp_path):
    table = snapshot(tmp_path, train=3)
    shard = tmp_path / table["shard"][0]
    content = bytearray(shard.read_bytes())
    content[table["offset"][1] + 20] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ValueError, match=shard.name):
        open_images(table, tmp_path, SIZE)


def test_augmentation_is_seeded_and_differs_from_image_to_image():
    images = torch.from_numpy(picture("tall", np.random.default_rng(0))).permute(2, 0, 1)
    same = images.expand(4, 3, SIZE, SIZE)
    once, again, other = (augment(same, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert not torch.equal(once[0], once[1])
    assert once.dtype == torch.float32 and once.min() > -40 and once.max() < 340


def test_only_a_flip_that_was_asked_for_mirrors():
    image = torch.zeros(200, 3, 16, 16)
    image[:, :, :, :4] = 200.0  # bright on the left

    def bright_side(flip):
        moved = augment(image, np.random.default_rng(0), flip=flip)
        return (moved[..., :4].mean((1, 2, 3)) > moved[..., -4:].mean((1, 2, 3))).float().mean()

    assert bright_side(flip=False) == 1
    assert 0.4 < bright_side(flip=True) < 0.6


def test_augmentation_moves_nothing_on_average():
    image = torch.zeros(400, 3, 17, 17)
    image[:, :, 8, 8] = 200.0
    seen = augment(image, np.random.default_rng(0)).mean((0, 1))
    assert abs(seen.min()) < 5  # nor is it brighter or darker on average
    seen -= seen.min()
    position = torch.arange(17.0)
    for axis in (0, 1):
        centre = (seen.sum(axis) * position).sum() / seen.sum()
        assert abs(centre - 8) < 0.3
