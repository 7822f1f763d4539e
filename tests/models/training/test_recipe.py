"""The recipe follows from the labels, the weights and the configuration, and says why."""

import pandas as pd
import pytest

from models.network.network import NetworkConfig
from models.training.config import TrainConfig
from models.training.recipe import FEW, MANY, Recipe, choose_recipe

PRETRAINED = NetworkConfig(weights="default")
SCRATCH = NetworkConfig()


def table(soft=0, **labels) -> pd.DataFrame:
    names = [name for name, count in labels.items() for _ in range(count)]
    splits = ["train"] * len(names) + ["soft"] * soft
    return pd.DataFrame({"label": names + ["cat"] * soft, "split": splits})


@pytest.mark.parametrize(
    ("labels", "part"),
    [(2, "frozen"), (FEW - 1, "frozen"), (FEW, "last"), (MANY - 1, "last"), (MANY, "full")],
)
def test_the_more_labels_the_more_of_a_pretrained_network_is_tuned(labels, part):
    recipe = choose_recipe(table(cat=labels // 2, dog=labels - labels // 2), TrainConfig(),
                           PRETRAINED)  # fmt: skip
    assert recipe.fine_tune == part and recipe.starts_solved
    assert recipe.why[0].startswith(f"{labels} labels are ")


@pytest.mark.parametrize("part", ["full", "last", "frozen"])
def test_what_is_configured_is_done_whatever_the_labels(part):
    recipe = choose_recipe(table(cat=3, dog=3), TrainConfig(fine_tune=part), PRETRAINED)
    assert recipe.fine_tune == part and recipe.why[0] == f"fine_tune is {part!r}"


def test_from_scratch_the_whole_network_is_trained_plainly():
    recipe = choose_recipe(table(soft=50, cat=9, dog=8), TrainConfig(), SCRATCH)
    assert recipe == Recipe(why=("the network starts from scratch: all of it is trained",))


def test_labels_of_rare_classes_weigh_more_in_a_long_tail():
    recipe = choose_recipe(table(cat=400, dog=60, emu=10), TrainConfig(), SCRATCH)
    weights = recipe.class_weights
    assert weights is not None and weights["cat"] < 1 < weights["dog"] < weights["emu"]
    mean = (400 * weights["cat"] + 60 * weights["dog"] + 10 * weights["emu"]) / 470
    assert mean == pytest.approx(1)
    assert recipe.why[-1] == (
        "labels of rare classes weigh more: 400 of the commonest, 10 of the rarest"
    )
    off = TrainConfig(class_weights="off")
    assert choose_recipe(table(cat=400, dog=60, emu=10), off, SCRATCH).class_weights is None


def test_classes_that_differ_by_chance_weigh_the_same():
    few = table(cat=9, dog=1, emu=5)
    assert choose_recipe(few, TrainConfig(), SCRATCH).class_weights is None


@pytest.mark.parametrize(
    ("soft", "config", "tried"),
    [
        (20, TrainConfig(fine_tune="full", consistency="auto"), True),
        (0, TrainConfig(fine_tune="full", consistency="auto"), False),
        (20, TrainConfig(fine_tune="frozen", consistency="auto"), False),
        (20, TrainConfig(fine_tune="full"), False),
        (20, TrainConfig(fine_tune="full", consistency="auto", soft_weight=0), False),
    ],
)
def test_consistency_is_tried_where_something_is_tuned_and_the_pool_is_there(soft, config, tried):
    assert choose_recipe(table(soft, cat=5, dog=5), config, PRETRAINED).consistency is tried
