"""Predictions stored with a model are taken as they are; the network runs for the other rows."""

from pathlib import Path

import numpy as np

from models.registry.model_store import LoadedModel
from models.scoring.predict import Predictions
from models.scoring.score_pool import cache_for
from models.scoring.stored import predict_missing
from tests.models import pictures
from tests.models.saved_models import SIZE, make_card, make_network


def test_stored_rows_are_taken_and_the_others_predicted_in_the_order_asked_for(
    tmp_path: Path,
) -> None:
    table = pictures.snapshot(tmp_path, train=4, side=SIZE)
    table = table.assign(sample_id=table["stored_sha256"])
    network = make_network()
    marked = Predictions(
        np.full((1, network.output_width), 0.25, np.float32),
        np.full((1, network.width), 7.0, np.float32),
    )
    stored = (table["sample_id"].iloc[2],)
    loaded = LoadedModel("hone:0001-a", "0", network, make_card(), marked, stored)
    with cache_for(network, tmp_path / "scores") as cache:
        predictions = predict_missing(loaded, table, tmp_path, cache)
        assert len(cache) == len(table) - 1
        reverse = predict_missing(loaded, table.iloc[::-1], tmp_path, cache)
    assert (predictions.outputs[2] == 0.25).all() and (predictions.embeddings[2] == 7.0).all()
    others = np.delete(predictions.outputs, 2, axis=0)
    np.testing.assert_allclose(others.sum(axis=1), 1, atol=1e-5)
    assert (reverse.outputs == predictions.outputs[::-1]).all()
