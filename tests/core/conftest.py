"""A database with the tables of core, for tests of locks and intents."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from core.database import connect, metadata


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = connect(f"sqlite:///{tmp_path / 'hone.sqlite'}")
    metadata.create_all(engine)
    yield engine
    engine.dispose()
