"""Predictions do not depend on how the images came, and a damaged model gives none."""

import copy
from collections.abc import Generator
from typing import Any

import numpy as np
import pytest
import torch

from models.network.images import Images
from models.network.network import NetworkConfig, build
from models.scoring.predict import predict, predict_table, predictions
from tests.models.pictures import CLASSES, SIZE, snapshot


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build(NetworkConfig("squeezenet1_1"), classes=len(CLASSES), image_size=SIZE)


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (11, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)


def test_probabilities_are_the_softmax_of_the_head_on_the_embeddings(network, images):
    found = predict(network, images)
    assert found.outputs.dtype == found.embeddings.dtype == np.float32
    assert len(found) == 11 and found.outputs.shape == (11, 3)
    logits = network.head(torch.from_numpy(found.embeddings))
    assert np.allclose(found.outputs, logits.softmax(1).detach().numpy(), atol=1e-6)
    assert np.allclose(found.outputs.sum(1), 1, atol=1e-6)


def test_the_temperature_is_in_the_outputs_and_not_in_the_embeddings(network, images):
    plain, softer = predict(network, images), copy.deepcopy(network)
    softer.temperature.fill_(2)
    found = predict(softer, images)
    assert (found.embeddings == plain.embeddings).all()
    logits = network.head(torch.from_numpy(found.embeddings))
    assert np.allclose(found.outputs, (logits / 2).softmax(1).detach().numpy(), atol=1e-6)


def test_batches_in_order_give_what_one_tensor_gives(network, images):
    whole = predict(network, images)
    seen: list[int] = []
    parts = predict(network, iter(images.split(4)), on_progress=seen.append)
    assert np.allclose(whole.outputs, parts.outputs, atol=1e-6)
    assert np.allclose(whole.embeddings, parts.embeddings, rtol=1e-4, atol=1e-5)
    assert seen == [4, 8, 11]


def test_a_network_meets_few_shapes_whatever_the_number_of_images(network):
    shapes, outputs = set(), []
    hook = network.backbone.register_forward_pre_hook(lambda _, args: shapes.add(len(args[0])))
    for rows in range(1, 65):
        values = torch.arange(rows, dtype=torch.uint8).view(-1, 1, 1, 1)
        outputs.append(predict(network, values.expand(-1, 3, SIZE, SIZE)).outputs)
    hook.remove()
    assert shapes == {1, 2, 4, 8, 16, 32, 64}
    for rows, part in enumerate(outputs, start=1):
        np.testing.assert_allclose(part, outputs[-1][:rows], atol=1e-6)


def test_fp32_gives_the_same_bits_again(network, images):
    once, again = predict(network, images), predict(network, images)
    assert (once.outputs == again.outputs).all() and (once.embeddings == again.embeddings).all()


def test_bf16_keeps_the_softmax_in_fp32(network, images):
    exact, quick = predict(network, images), predict(network, images, precision="bf16")
    assert quick.outputs.dtype == np.float32
    assert np.allclose(quick.outputs.sum(1), 1, atol=1e-6)
    assert np.abs(exact.outputs - quick.outputs).max() < 0.05


def test_no_images_give_no_rows_of_the_right_width(network, images):
    none: list[torch.Tensor] = []
    for nothing in (images[:0], none):
        found = predict(network, nothing)
        assert found.outputs.shape == (0, 3)
        assert found.embeddings.shape == (0, network.head.in_features)


def test_a_network_can_be_trained_after_it_was_asked(network, images):
    predict(network, images, precision="bf16")
    network.train()(images).sum().backward()
    assert network.head.weight.grad is not None


def test_an_answer_that_is_no_number_is_an_error_that_names_the_model_and_the_rows(images):
    broken: Any = build(NetworkConfig("squeezenet1_1"), classes=3, image_size=SIZE)
    with torch.no_grad():
        broken.head.bias[1] = float("nan")
    with pytest.raises(ValueError, match=r"hone:0003 gave outputs.* 8 of 8 .*row 0"):
        predict(broken, images, name="hone:0003")


def test_a_table_is_answered_row_by_row_in_its_order(network, tmp_path):
    table = snapshot(tmp_path, train=9)
    mixed = table.sample(frac=1, random_state=0)
    seen = []
    straight = predict_table(network, table, tmp_path, SIZE)
    turned = predict_table(
        network, mixed, tmp_path, SIZE, threads=2, on_progress=lambda *counts: seen.append(counts)
    )
    assert np.allclose(straight.outputs[mixed.index], turned.outputs, atol=1e-6)
    assert seen == [(9, 9)]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_batches_come_in_the_order_of_the_table_whatever_the_threads(
    network, tmp_path, monkeypatch, threads
):
    monkeypatch.setattr("models.scoring.predict.BATCH", 2)
    table = snapshot(tmp_path, train=23)
    whole = predict_table(network, table, tmp_path, SIZE)
    parts = list(predictions(network, table, tmp_path, SIZE, threads=threads))
    assert [len(part) for part in parts] == [2] * 11 + [1]
    assert (np.concatenate([part.outputs for part in parts]) == whole.outputs).all()


def test_few_batches_are_in_memory_whatever_the_table(network, tmp_path, monkeypatch):
    monkeypatch.setattr("models.scoring.predict.BATCH", 1)
    table = snapshot(tmp_path, train=40)
    decode, taken = Images.decode, list[int]()

    def observed(images: Images, rows: Any) -> Any:
        taken.append(int(rows[0]))
        return decode(images, rows)

    monkeypatch.setattr(Images, "decode", observed)
    answers = predictions(network, table, tmp_path, SIZE, threads=2)
    assert isinstance(answers, Generator)
    next(answers)
    assert len(taken) <= 8
    answers.close()
    assert len(taken) <= 8 and torch.get_num_threads() >= 1


def test_a_damaged_image_is_an_error_and_no_thread_is_left_waiting(network, tmp_path):
    table = snapshot(tmp_path, train=5)
    wrong = table.assign(stored_sha256=["0" * 64, *table["stored_sha256"][1:]])
    with pytest.raises(ValueError, match="was written"):
        predict_table(network, wrong, tmp_path, SIZE, threads=3)


def test_auto_goes_on_with_the_quickest_size_of_batch_and_answers_the_same(
    network, tmp_path, monkeypatch
):
    monkeypatch.setattr("models.scoring.predict.BATCH", 8)
    table = snapshot(tmp_path, train=120)
    parts = list(predictions(network, table, tmp_path, SIZE, precision="auto"))
    sizes = [len(part) for part in parts]
    assert sum(sizes) == 120 and sizes[:3] == [1, 2, 8]
    assert len(set(sizes[-4:-1])) == 1
    whole = predict_table(network, table, tmp_path, SIZE)
    assert np.abs(np.concatenate([part.outputs for part in parts]) - whole.outputs).max() < 0.05
