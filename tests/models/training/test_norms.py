"""BatchNorm ends with the statistics of images as prediction gets them."""

from dataclasses import replace

import torch

from models.scoring.predict import predict_table
from tests.models.pictures import SIZE, snapshot
from tests.models.training.small_runs import SHORT, run


def test_batchnorm_ends_with_the_statistics_of_images_as_they_are(tmp_path):
    table = snapshot(tmp_path, train=20)
    network = run(table, tmp_path, replace(SHORT, batch_size=20)).network
    norm = next(part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d))
    seen = []
    norm.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    predict_table(network, table, tmp_path, SIZE)
    assert norm.running_mean is not None
    assert torch.allclose(norm.running_mean, seen[0].mean((0, 2, 3)), atol=1e-4)
    assert norm.momentum == 0.1
