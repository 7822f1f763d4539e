"""All that we use of BentoML beyond its public names; nothing else imports its private modules.

tests/models/registry/test_bentoml_private.py fails when a version of BentoML moves one of them.
"""

from pathlib import Path
from typing import Any


def model_store(folder: Path) -> Any:
    """BentoML's model store in a folder: the public functions know that of BENTOML_HOME only."""
    from bentoml._internal.models import ModelStore

    return ModelStore(folder)


def configured_host() -> str:
    """The address to listen on where the command names none."""
    from bentoml._internal.configuration.containers import BentoMLContainer

    return str(BentoMLContainer.http.host.get())


def configured_port() -> int:
    """The port to listen on where the command names none."""
    from bentoml._internal.configuration.containers import BentoMLContainer

    return int(BentoMLContainer.http.port.get())
