"""The service as an object, which another service of BentoML has of it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from core.database import connect
from core.workspace import Workspace
from models.serving import service
from models.serving.feedback import FOLDER
from models.serving.prediction_store import drain
from models.serving.requests import RequestError
from tests.models.saved_models import make_workspace, png, put_in_service, save

Place = tuple[Workspace, Any]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A workspace, and the service of its model as an object."""
    workspace, engine = make_workspace(tmp_path_factory.mktemp("api") / "workspace")
    put_in_service(engine, save(workspace, engine))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HONE_WORKSPACE", str(workspace.root))
        hone = cast(Any, service.Hone())
        yield workspace, hone
        hone.end()


def test_images_are_answered_and_recorded(place: Place, tmp_path: Path) -> None:
    workspace, hone = place
    for number in (1, 2):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    answered = asyncio.run(hone.predict(images=[tmp_path / "1.png", tmp_path / "2.png"]))
    assert [one.file for one in answered.predictions] == ["1.png", "2.png"]
    assert drain(connect(workspace.database), workspace.traffic) == 2


def test_a_truth_is_recorded_or_refused_by_name(place: Place) -> None:
    workspace, hone = place
    recorded = asyncio.run(hone.feedback(prediction_id="0" * 32, truth="cat", who="ada"))
    [segment] = (workspace.traffic / FOLDER).glob("*.seg")
    assert str(recorded.outcome_id).encode() in segment.read_bytes()
    with pytest.raises(RequestError, match="prediction_id is 'x'"):
        asyncio.run(hone.feedback(prediction_id="x", truth="cat"))


def test_the_status_is_that_of_the_route(place: Place) -> None:
    _, hone = place
    status = asyncio.run(hone.status())
    assert status.model_dump()["model"] == hone.active.model.version == hone.state()["model"]


def test_clients_learn_the_routes_with_their_fields() -> None:
    routes = {route["route"]: route for route in cast(Any, service.Hone).schema()["routes"]}
    assert routes["/predict"]["input"]["properties"]["images"]["items"]["type"] == "file"
    assert routes["/feedback"]["input"]["required"] == ["prediction_id", "truth"]
    assert {"model", "release", "problem"} <= routes["/status"]["output"]["properties"].keys()


def test_a_bento_gets_bentomls_own_document_of_the_routes() -> None:
    """`bentoml build` writes it, in an older version of OpenAPI which has fewer words."""
    written = cast(Any, service.Hone).openapi_spec.asdict()
    assert {"/predict", "/feedback", "/status"} <= written["paths"].keys()
    assert written["components"]["schemas"]["Answer"]["example"]["label"] == "cat"
