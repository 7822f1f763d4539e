"""What Prefect's form of a deployment is told about the parameters of each flow."""

from typing import Any

import pytest

from flows.collect_labels import collect_labels
from flows.label_round import label_round
from flows.retrain import retrain
from flows.watch_traffic import watch_traffic


@pytest.mark.parametrize("flow", [label_round, collect_labels, retrain, watch_traffic])
def test_each_field_has_a_description_and_each_number_its_bounds(flow: Any) -> None:
    definitions = flow.parameters.model_dump()["definitions"]
    assert definitions
    for name, schema in definitions.items():
        assert schema["additionalProperties"] is False
        for field, known in schema["properties"].items():
            assert known["description"], f"{name}.{field} has no help"
            if known.get("type") in ("integer", "number"):
                bounds = {"minimum", "exclusiveMinimum"} & set(known)
                assert bounds, f"{name}.{field} has no lower bound"
