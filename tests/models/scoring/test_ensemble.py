"""Opinions of one network: seeded, probabilities, and at odds where little is known."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from models.network.network import Network
from models.scoring import ensemble as module
from models.scoring.ensemble import ensemble_predictions

CLASSES, WIDTH = 3, 8


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Network(nn.Identity(), WIDTH, CLASSES)


@pytest.fixture
def embeddings():
    """Three groups, each far out on an axis of its own."""
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 0.3, (90, WIDTH)).astype(np.float32)
    rows[np.arange(90), np.arange(90) % CLASSES] += 3
    return rows


def spread(found):
    return found.std(axis=0).mean()


@pytest.mark.parametrize("known", [False, True])
def test_every_look_is_a_row_of_probabilities_and_the_seed_makes_them(network, embeddings, known):
    labels = np.arange(90) % CLASSES
    given = {"labelled": embeddings, "labels": labels} if known else {}
    once, again, other = (
        ensemble_predictions(network, embeddings, n_members=4, seed=seed, **given)
        for seed in (1, 1, 2)
    )
    assert once.shape == (4, 90, CLASSES) and once.dtype == np.float32
    np.testing.assert_allclose(once.sum(axis=2), 1, atol=1e-5)
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, other)
    assert not np.array_equal(once[0], once[1])


def test_a_look_is_one_network_so_equal_samples_get_equal_answers(network, embeddings):
    twice = ensemble_predictions(
        network, np.concatenate([embeddings, embeddings]), n_members=3, seed=0
    )
    np.testing.assert_allclose(twice[:, :90], twice[:, 90:], atol=1e-6)


def test_dropping_features_leaves_the_mean_answer_where_it_was(network, embeddings):
    logits = torch.from_numpy(embeddings) @ network.head.weight.T + network.head.bias
    logs = np.log(ensemble_predictions(network, embeddings, n_members=4000, seed=0))
    centred = logs.mean(0) - logs.mean(0).mean(1, keepdims=True)
    wanted = (logits - logits.mean(1, keepdim=True)).detach().numpy()
    np.testing.assert_allclose(centred, wanted, atol=0.1)


def test_members_of_the_networks_own_head_have_its_temperature(network, embeddings):
    softer = copy.deepcopy(network)
    softer.temperature.fill_(4)
    plain, soft = (
        ensemble_predictions(one, embeddings, n_members=2, seed=0) for one in (network, softer)
    )
    expected = plain ** (1 / 4)
    np.testing.assert_allclose(soft, expected / expected.sum(2, keepdims=True), atol=1e-5)


def test_an_ensemble_knows_what_it_was_taught_and_doubts_what_lies_between(network, embeddings):
    labels = np.arange(90) % CLASSES
    between = (embeddings[labels == 0][:30] + embeddings[labels == 1][:30]) / 2
    given = {"labelled": embeddings, "labels": labels}
    found = ensemble_predictions(
        network, np.concatenate([embeddings, between]), n_members=8, seed=0, **given
    )
    assert (found[:, :90].mean(0).argmax(1) == labels).all()
    assert spread(found[:, 90:]) > 2 * spread(found[:, :90])


def test_more_labels_make_an_ensemble_agree(network, embeddings):
    rng = np.random.default_rng(1)
    labels = rng.permutation(np.arange(90) % CLASSES)  # the embeddings do not tell: only numbers do
    few, many = (
        ensemble_predictions(
            network,
            embeddings,
            n_members=8,
            seed=0,
            labelled=np.tile(embeddings, (times, 1)),
            labels=np.tile(labels, times),
        )
        for times in (1, 20)
    )
    assert spread(many) < spread(few)


def test_labels_that_are_not_known_are_left_out(network, embeddings):
    labels = np.arange(90) % CLASSES
    some = np.where(labels == 2, -1, labels)
    given = {"labelled": embeddings[labels < 2], "labels": labels[labels < 2]}
    np.testing.assert_array_equal(
        ensemble_predictions(
            network, embeddings, n_members=2, seed=0, labelled=embeddings, labels=some
        ),
        ensemble_predictions(network, embeddings, n_members=2, seed=0, **given),
    )
    nobody = ensemble_predictions(
        network, embeddings, n_members=2, seed=0, labelled=embeddings, labels=np.full(90, -1)
    )
    np.testing.assert_array_equal(
        nobody, ensemble_predictions(network, embeddings, n_members=2, seed=0)
    )


def test_they_are_mapped_from_a_file_that_nobody_else_sees(
    network, embeddings, tmp_path, monkeypatch
):
    at_once = ensemble_predictions(network, embeddings, n_members=3, seed=0)
    monkeypatch.setattr(module, "_AT_ONCE", 7 * max(WIDTH, 3 * CLASSES))
    found = ensemble_predictions(network, embeddings, n_members=3, seed=0, folder=tmp_path)
    assert isinstance(found, np.memmap) and not found.flags.writeable
    assert list(tmp_path.iterdir()) == []
    np.testing.assert_allclose(found, at_once, atol=1e-6)


def test_one_class_alone_and_no_rows_at_all_are_answered(network, embeddings):
    given = {"labelled": embeddings[:5], "labels": np.zeros(5, int)}
    assert np.isfinite(
        ensemble_predictions(network, embeddings, n_members=2, seed=0, **given)
    ).all()
    assert ensemble_predictions(network, embeddings[:0], n_members=2, seed=0).shape == (
        2,
        0,
        CLASSES,
    )
