"""The pool scored by a Ray cluster of two workers, one of which is killed on the way."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.network.network import NetworkConfig, build
from models.scoring.predict import predict_table
from models.scoring.ray import predict_on_ray
from tests.models.pictures import snapshot

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that computes nothing, and two machines with a processor each."""
    pytest.importorskip("ray", reason="Ray is not installed; `pip install 'hone[ray]'`")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2])]))
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("OMP_NUM_THREADS", "1")
        made: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        made.workers = [made.add_node(num_cpus=1) for _ in range(2)]
        yield made
        made.shutdown()


def test_a_machine_that_dies_on_the_way_loses_and_changes_nothing(
    cluster: Any, tmp_path: Path
) -> None:
    table = snapshot(tmp_path, train=600)
    network = build(NetworkConfig(), classes=2, image_size=16)
    alone = predict_table(network, table, tmp_path, 16)
    killed = threading.Event()

    def kill_one(done: int, total: int) -> None:
        if not killed.is_set():
            killed.set()
            cluster.remove_node(cluster.workers[0], allow_graceful=False)

    spread = predict_on_ray(
        network, table, tmp_path, 16, cluster=cluster.address, rows=50, on_progress=kill_one
    )
    assert killed.is_set()
    assert np.array_equal(spread.outputs, alone.outputs)
    assert np.array_equal(spread.embeddings, alone.embeddings)


def test_a_cluster_that_is_not_there_is_one_sentence(cluster: Any, tmp_path: Path) -> None:
    network = build(NetworkConfig(), classes=2, image_size=16)
    with pytest.raises(ConnectionError, match=r"HONE_RAY is '127.0.0.1:9', and no Ray cluster"):
        predict_on_ray(network, snapshot(tmp_path, train=2), tmp_path, 16, cluster="127.0.0.1:9")
