import httpx
import pytest
from prefect.states import Failed
from sqlalchemy.exc import OperationalError

from core.database_faults import DatabaseFault
from core.locks import LockBusy, LockLost
from tasks.retries import is_lock_busy, is_transient_error

PASSING = [
    ConnectionError("gone"), TimeoutError("slow"), httpx.ReadTimeout("slow"), LockBusy("held"),
    DatabaseFault("locked", passes=True),
]  # fmt: skip
LASTING = [
    ValueError("wrong class"), LockLost("overtaken"), KeyError("missing"),
    DatabaseFault("read-only", passes=False),
    OperationalError("select", {}, Exception("no such table")),
]  # fmt: skip


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_what_waiting_can_mend_is_tried_again(error: Exception) -> None:
    assert is_transient_error(None, None, Failed(data=error))


@pytest.mark.parametrize("error", LASTING, ids=repr)
def test_what_is_wrong_stays_wrong_and_is_not_tried_again(error: Exception) -> None:
    assert not is_transient_error(None, None, Failed(data=error))


def test_a_cache_that_another_process_holds_is_waited_for_and_nothing_else() -> None:
    assert is_lock_busy(None, None, Failed(data=LockBusy("held")))
    assert not is_lock_busy(None, None, Failed(data=OSError("no such file")))
