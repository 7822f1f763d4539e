"""What is served changes while clients ask: every change is followed, and no request fails."""

import statistics
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn

from benchmarks.load import switches
from models.registry.releases import champion
from models.serving import service
from tasks.demo.servers import free_port
from tests.models.saved_models import png, save
from tests.models.serving.test_service import Place, place, template  # noqa: F401 - fixtures

CHANGES = 12


@pytest.fixture
def url(place: Place) -> Iterator[str]:  # noqa: F811
    """The service at an address, in this process, with its threads."""
    hone = service.Hone()
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(service.app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()
    hone.end()


def test_changes_under_load_are_followed_and_fail_no_request(url: str, place: Place) -> None:  # noqa: F811
    workspace, engine = place
    first, second = str(champion(engine)), save(workspace, engine, seed=1)
    following = switches.changes(engine, first, second)
    images = [png(number) for number in range(20)]
    with switches.clients(url, images) as traffic:
        seconds = [
            switches.seconds_to_follow(url, next(following)(), workers=1) for _ in range(CHANGES)
        ]
    assert traffic.failed == []
    assert traffic.models == {first, second}
    assert statistics.median(seconds) < 2
    assert switches.seconds_to_halt(engine, url, images) < 5
