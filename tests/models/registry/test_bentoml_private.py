"""What we use of BentoML's private modules works, and one file alone imports them."""

from pathlib import Path
from typing import Any, cast

import bentoml
import pytest

from models.registry import bentoml_private
from models.serving import service
from tests.source_code import imported, name_of, sources

PRIVATE = ("bentoml._internal", "_bentoml_sdk", "_bentoml_impl", "bentoml_cli")


def test_no_other_file_imports_private_modules() -> None:
    importing = {
        name_of(path)
        for path in sources()
        if any(module.startswith(PRIVATE) for module in imported(path))
    }
    assert importing == {"models/registry/bentoml_private.py"}


def test_a_store_is_that_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    store = bentoml_private.model_store(tmp_path / "models")
    with bentoml.models.create("cats:1", _model_store=store):
        pass
    assert [str(model.tag) for model in store.list("cats")] == ["cats:1"]
    assert (tmp_path / "models" / "cats" / "1" / "model.yaml").is_file()


def test_address_and_port_are_those_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENTOML_CONFIG_OPTIONS", raising=False)
    cast(Any, service.Hone).inject_config()  # as the command does
    assert bentoml_private.configured_host() == "127.0.0.1"
    assert bentoml_private.configured_port() == 3000


def test_two_workers_unless_a_setting_of_ours_or_of_bentoml_names_another_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from bentoml._internal.configuration.containers import BentoMLContainer

    def workers() -> int:
        cast(Any, service.Hone).inject_config()
        return int(BentoMLContainer.config.services["hone"].get()["workers"])

    monkeypatch.delenv("BENTOML_CONFIG_OPTIONS", raising=False)
    assert service.Settings.model_fields["workers"].default == 2
    assert workers() == service.Settings().workers
    monkeypatch.setenv("BENTOML_CONFIG_OPTIONS", "services.hone.workers=3")
    assert workers() == 3
