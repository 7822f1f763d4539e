"""The model card: nothing missing, nothing unknown, and cards of older versions still load."""

import json
from dataclasses import replace

import numpy as np
import pytest

from models.registry.model_card import ModelCard
from tests.models.saved_models import make_card


def test_a_model_card_survives_json() -> None:
    card = make_card(metrics={"accuracy": np.float32(0.5), "matrix": np.eye(2), "loss": 1.0})
    again = ModelCard.from_json(card.to_json())
    assert again.classes == card.classes
    assert again.metrics == {"accuracy": 0.5, "matrix": [[1.0, 0.0], [0.0, 1.0]], "loss": 1.0}
    assert again.to_json() == card.to_json()


def test_a_metric_that_is_not_finite_is_null() -> None:
    card = make_card(metrics={"loss": float("nan"), "best": float("inf")})
    assert json.loads(card.to_json())["metrics"] == {"loss": None, "best": None}


@pytest.mark.parametrize("name", ["snapshot", "code_commit", "strategy", "created_at"])
def test_a_model_card_without_its_origin_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"needs {name}"):
        make_card(**{name: ""})


@pytest.mark.parametrize("classes", [(), ("one",), ("one", "one")])
def test_a_model_card_needs_classes(classes: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="two or more, each once"):
        replace(make_card(), classes=classes)


def test_a_model_card_with_an_unknown_field_is_refused() -> None:
    known = json.loads(make_card().to_json())
    del known["seed"]
    with pytest.raises(ValueError, match=r"\['seed', 'weight'\] are missing or unknown"):
        ModelCard.from_json(json.dumps(known | {"weight": 1}))


def test_a_card_holds_the_recipe_and_its_reasons() -> None:
    recipe = {"fine_tune": "last", "head_losses": {10.0: 0.5}, "why": ["120 labels are few"]}
    written = json.loads(make_card(recipe=recipe).to_json())["recipe"]
    assert written["why"] == ["120 labels are few"] and written["head_losses"] == {"10.0": 0.5}
    assert ModelCard.from_json(json.dumps(json.loads(make_card().to_json()))).recipe == {}
    with pytest.raises(ValueError, match="its recipe is 'full', no table"):
        ModelCard.from_json(json.dumps(json.loads(make_card().to_json()) | {"recipe": "full"}))


def test_a_card_names_the_weights_that_the_training_began_with() -> None:
    written = json.loads(make_card(pretrained="resnet18 (BSD-3-Clause)").to_json())
    assert ModelCard.from_json(json.dumps(written)).pretrained == "resnet18 (BSD-3-Clause)"
    with pytest.raises(ValueError, match="its pretrained is 18, no text"):
        ModelCard.from_json(json.dumps(written | {"pretrained": 18}))


def test_a_card_of_an_older_version_loads() -> None:
    known = json.loads(make_card().to_json())
    del known["kind"], known["recipe"], known["pool"], known["pretrained"]
    card = ModelCard.from_json(json.dumps(known | {"parent": None}))
    assert card.label_kind.name == "classification"
    assert card.recipe == {}


def test_what_is_no_text_about_the_pool_is_refused() -> None:
    known = json.loads(make_card().to_json())
    with pytest.raises(ValueError, match="its pool is 3, no text"):
        ModelCard.from_json(json.dumps(known | {"pool": 3}))


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'segmentation'; known: classification"):
        make_card(kind="segmentation")
