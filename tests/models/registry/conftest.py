from pathlib import Path

import pytest
from sqlalchemy import Engine

from core.database import connect, upgrade
from tests.models.registry.named_models import A, B, C, D, add_models


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """A database with four models and no release."""
    engine = connect(f"sqlite:///{tmp_path / 'hone.sqlite'}")
    upgrade(engine)
    add_models(engine, A, B, C, D)
    return engine
