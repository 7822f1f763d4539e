"""Every test runs away from home: no account, no telemetry, no folder of the user's, one thread."""

import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import certifi
import pytest
from hypothesis import HealthCheck, settings

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "BENTOML_DO_NOT_TRACK": "True",
    "DVC_NO_ANALYTICS": "1",
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "COLLECT_ANALYTICS": "0",
    "HONE_WORKERS": "1",  # a second one takes seconds to start: tests of two say so
    "HONE_FEATURES": "simclr",  # as without pretrained weights, which take longer on few images
    "HONE_RUNTIME": "torch",  # a test of the others says so: a probe takes seconds
}
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
FOLDERS = (
    "HOME", "PREFECT_HOME", "BENTOML_HOME", "WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR",
    "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR",
    "DVC_SITE_CACHE_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "MPLCONFIGDIR",
    "TORCH_HOME", "HF_HOME",
)  # fmt: skip
KEPT = {"HONE_NO_SKIPS", "HONE_LABEL_STUDIO_COMMAND"}  # of the test run, not of what is tested
OURS = ("HONE_", "LABEL_STUDIO_", "WANDB_", "PREFECT_", "BENTOML_", "AWS_", "GIT_")

settings.register_profile(
    "hone",
    derandomize=True,  # a test that fails once fails always
    deadline=None,  # nothing here asserts a time
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("hone")


def pytest_configure(config: pytest.Config) -> None:
    """Set the environment before any test module is imported: some libraries read it only once."""
    gc.set_threshold(50_000, 20, 20)  # else garbage is looked for a thousand times during imports
    for name in [name for name in os.environ if name.startswith(OURS)]:
        if name not in KEPT:
            del os.environ[name]
    away = config.stash[AWAY] = tempfile.TemporaryDirectory(prefix="hone-tests-")
    for name in FOLDERS:
        folder = Path(away.name) / name.lower()
        folder.mkdir()
        os.environ[name] = str(folder)
    os.environ.update(QUIET)
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    os.environ["SSL_CERT_FILE"] = str(_one_authority(Path(away.name) / "authority.pem"))


def _one_authority(path: Path) -> Path:
    """A file of certificates with one in it: each HTTP client reads the file, plain HTTP or not."""
    text = Path(certifi.where()).read_text(encoding="utf-8")
    end = "-----END CERTIFICATE-----\n"
    path.write_text(text[text.index("-----BEGIN") : text.index(end) + len(end)])
    return path


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take the folders away again, and let the bindings of triton find nothing that was left."""
    config.stash[AWAY].cleanup()
    gc.unfreeze()


def pytest_collection_finish() -> None:
    """Let no later search for garbage, in this process or a fork, go through what was imported."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In several processes the longest go first, or all but one of them wait at the end."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=_seconds_allowed, reverse=True)


def _seconds_allowed(item: pytest.Item) -> float:
    """The time-out that the test's file sets for its tests, 1 for another system test, else 0.

    It is the same for all tests of a file: files stay whole.
    """
    longest = item.get_closest_marker("timeout")
    if longest is not None:
        return float(longest.args[0])
    return float(item.get_closest_marker("system") is not None)


AWAY = pytest.StashKey[tempfile.TemporaryDirectory]()


@pytest.fixture(scope="module", autouse=True)
def copied_schema() -> Iterator[None]:
    """Each empty SQLite database is migrated once, and is a copy of that one afterwards.

    Migrations are the same for each, and a thousand tests begin with an empty database. A module
    that tests migrations has a fixture of this name that does nothing.
    """
    from core import database
    from tests.schema_copy import migrate

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "migrate", migrate)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Count a skipped test as failed where HONE_NO_SKIPS is set: there everything is installed."""
    return _strict((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    """The same for a file that skips all its tests."""
    return _strict((yield))


def _strict(report: Any) -> Any:
    if report.skipped and os.environ.get("HONE_NO_SKIPS") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = (
            f"{report.nodeid} was skipped, HONE_NO_SKIPS forbids it: {report.longrepr}"
        )
    return report
