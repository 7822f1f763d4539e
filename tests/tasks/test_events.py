"""An event goes to the server that is set, or nowhere; one that is not taken is an error."""

from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.context import open_context
from tasks.events import EventName, emit
from tests.tasks.labelled_folders import new_workspace


def test_without_a_server_no_event_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_workspace(tmp_path, monkeypatch)
    assert emit(open_context(), EventName.DRIFT, {"decision": "d", "reason": "r"}) is False


def test_an_event_that_the_server_does_not_take_is_an_error_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_workspace(tmp_path, monkeypatch)
    nowhere = "http://127.0.0.1:9/api"
    with (
        temporary_settings({PREFECT_API_URL: nowhere}),
        pytest.raises(ConnectionError, match=f"{nowhere} takes no events.*prefect server start"),
    ):
        emit(open_context(), EventName.ANSWERS)
