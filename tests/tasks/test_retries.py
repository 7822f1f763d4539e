import httpx
import pytest
from prefect.states import Failed
from sqlalchemy.exc import OperationalError

from core.locks import Busy, Fenced
from tasks.retries import is_busy, may_pass

PASSING = [
    ConnectionError("gone"), TimeoutError("slow"), httpx.ReadTimeout("slow"), Busy("held"),
    OperationalError("select", {}, Exception("locked")),
]  # fmt: skip
LASTING = [ValueError("wrong class"), Fenced("overtaken"), KeyError("missing")]


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_what_waiting_can_mend_is_tried_again(error: Exception) -> None:
    assert may_pass(None, None, Failed(data=error))


@pytest.mark.parametrize("error", LASTING, ids=repr)
def test_what_is_wrong_stays_wrong_and_is_not_tried_again(error: Exception) -> None:
    assert not may_pass(None, None, Failed(data=error))


def test_a_cache_that_another_process_holds_is_waited_for_and_nothing_else() -> None:
    assert is_busy(None, None, Failed(data=Busy("held")))
    assert not is_busy(None, None, Failed(data=OSError("no such file")))
