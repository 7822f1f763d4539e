"""The predictions that are stored with a model, read without its network."""

from pathlib import Path

import numpy as np

from models.registry.model_store import entry, save_model
from models.registry.stored_entries import saved_reference
from models.registry.versions import find_model
from tests.models.saved_models import make_card, make_network, make_workspace, reference, save


def test_the_stored_outputs_have_the_samples_that_they_are_for(tmp_path: Path) -> None:
    workspace, engine = make_workspace(tmp_path / "work")
    network = make_network()
    names = ["a", "b", "c", "d"]
    predicted = reference(network)
    version = save_model(
        engine, workspace.bento_home, network, make_card(), predicted, reference_ids=names
    )
    folder = entry(workspace.bento_home, version)
    sha256 = find_model(engine, version).weights_sha256
    stored = saved_reference(folder, sha256)
    assert stored is not None
    assert stored[0] == names
    np.testing.assert_array_equal(stored[1], predicted.outputs)
    content = bytearray((folder / "reference.npz").read_bytes())
    content[-1] ^= 1
    (folder / "reference.npz").write_bytes(content)
    assert saved_reference(folder, sha256) is None


def test_an_older_model_stored_no_samples(tmp_path: Path) -> None:
    workspace, engine = make_workspace(tmp_path / "work")
    version = save(workspace, engine)
    sha256 = find_model(engine, version).weights_sha256
    assert saved_reference(entry(workspace.bento_home, version), sha256) is None
