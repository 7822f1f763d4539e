"""Labels that look wrong: found, asked about in a tab of their own, changed with their history."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from sqlalchemy import select

from core.database import connect
from core.workspace import Workspace
from labeling import simulation
from labeling.ledger.tables import labels, samples, sources
from labeling.studio import client as exchange
from models.network.network import NetworkConfig, build
from models.registry.model_store import save_model
from models.scoring.predict import Predictions, predict
from tasks.demo.servers import LabelStudioServer, Server
from tests.models.saved_models import make_card, put_in_service
from tests.system.terminal import Hone, terminal
from tests.system.world import make_world

pytestmark = pytest.mark.system

IMAGES, WRONG = 300, 15


@pytest.fixture
def workspace(document_root: Path) -> Workspace:
    return make_world(document_root / "review", images=IMAGES)


@pytest.fixture
def hone(
    workspace: Workspace,
    document_root: Path,
    label_studio: LabelStudioServer,
    prefect_server: Server,
) -> Iterator[Hone]:
    """The command line with everything it needs in its environment."""
    with terminal(
        workspace,
        PREFECT_API_URL=prefect_server.url,
        LABEL_STUDIO_URL=label_studio.url,
        LABEL_STUDIO_API_KEY=label_studio.api_key,
        LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=str(document_root),
    ) as opened:
        yield opened


def test_wrong_labels_are_found_asked_again_and_changed_with_their_history(
    workspace: Workspace, hone: Hone, label_studio: LabelStudioServer
) -> None:
    truths = simulation.load_simulation(workspace.root)[0]
    images = workspace.root.parent / "images"
    hone("ingest", str(images))
    wrong = write_labels(workspace, images.parent / "labels.csv")
    hone("import", str(images.parent / "labels.csv"), "--images", str(images))
    serve_something(workspace)
    hone("review", "--size", str(WRONG))

    with exchange.connect(label_studio.url, label_studio.api_key) as studio:
        project = studio.project(workspace)
        tabs = [view.data["title"] for view in studio.client.views.list(project=project)]
        assert "Review round-0001" in tabs
        tasks = list(studio.client.tasks.list(project=project, fields="all"))
        assert {task.data["stage"] for task in tasks} == {"review"}
        assert all(shown.result == [] for task in tasks for shown in task.predictions)
        reviewed = {task.data["sample_id"] for task in tasks}
        assert len(reviewed & wrong) > len(reviewed) / 2, "by chance it would be one in twenty"
        for task in tasks:
            value = {"choices": [truths[task.data["sample_id"]]]}
            result = {"from_name": "label", "to_name": "image", "type": "choices", "value": value}
            studio.client.annotations.create(id=task.id, result=[result], ground_truth=True)

    hone("collect")
    with connect(workspace.database).connect() as connection:
        history = connection.execute(select(labels).order_by(labels.c.seq)).all()
    for sample_id in reviewed:
        versions = [row for row in history if row.sample_id == sample_id]
        assert [row.replaced_at is None for row in versions] == [False, True]
        assert versions[-1].label == truths[sample_id]
        assert (versions[0].label != truths[sample_id]) == (sample_id in wrong)


def write_labels(workspace: Workspace, path: Path) -> set[str]:
    """A table with the label of every image, some of them wrong; return whose are."""
    truths = simulation.load_simulation(workspace.root)[0]
    with connect(workspace.database).connect() as connection:
        query = select(sources.c.path, samples.c.sample_id).join(samples)
        paths = dict(connection.execute(query).tuples().all())
    wrong = set(sorted(paths.values())[:WRONG])
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "label"])
        for image, sample_id in paths.items():
            truth = int(truths[sample_id])
            table.writerow([Path(image).name, (truth + 3) % 10 if sample_id in wrong else truth])
    return wrong


def serve_something(workspace: Workspace) -> None:
    """Release a network that learned nothing: its features tell digits apart all the same."""
    torch.manual_seed(0)
    config = NetworkConfig("resnet18")
    network = build(config, classes=10, image_size=8).eval()
    card = make_card(
        classes=tuple(workspace.class_names),
        image_size=8,
        network={"backbone": "resnet18", "weights": None, "small_stem": None},
    )
    predictions: Predictions = predict(network, torch.zeros((4, 3, 8, 8), dtype=torch.uint8))
    engine = connect(workspace.database)
    put_in_service(engine, save_model(engine, workspace.bento_home, network, card, predictions))
