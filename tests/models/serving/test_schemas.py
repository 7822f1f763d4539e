"""What the schemas hold back; that real answers have their fields is in test_endpoints.py."""

import pytest
from pydantic import ValidationError

from models.serving.feedback_records import FIELDS
from models.serving.schemas import TRUTH, Answers, RefusedImage, Truth


def test_a_truth_has_the_fields_that_the_service_takes() -> None:
    assert tuple(Truth.model_fields) == FIELDS
    with pytest.raises(ValidationError, match="label"):
        Truth.model_validate({**TRUTH, "label": "cat"})


def test_an_image_has_an_answer_or_an_error() -> None:
    refused = {"file": "a.txt", "error": {"reason": "EMPTY", "detail": "no bytes"}}
    read = Answers.model_validate({"request_id": "1", "predictions": [refused]})
    assert isinstance(read.predictions[0], RefusedImage)
    with pytest.raises(ValidationError, match="predictions"):
        Answers.model_validate({"request_id": "1", "predictions": [{"file": "a.png"}]})
