"""The service in BentoML's own terms: what its clients, its documents and its bentos know.

A request over HTTP never comes here: the routes of the same paths answer it (own_routes.py). A
service of BentoML that holds this one as an object calls these methods.
"""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import bentoml
from pydantic import Field

from models.serving import schemas
from models.serving.decoders import Answer
from models.serving.feedback import FeedbackRecorder
from models.serving.feedback_records import Strength
from models.serving.requests import IMAGES, NOBODY, RequestError, Sender, new_request_id


class ClientApi:
    """The declarations, which call what the service that derives from them has."""

    recorder: FeedbackRecorder

    @bentoml.api(route="/predict")
    async def predict(
        self, images: Annotated[list[Path], Field(min_length=1, max_length=IMAGES)]
    ) -> schemas.Answers:
        """Labels for images, in their order; each answer is recorded before it is given."""
        files = [(image.name, await asyncio.to_thread(image.read_bytes)) for image in images]
        request_id, answers = await self.answers(files)
        return schemas.Answers.model_validate({"request_id": request_id, "predictions": answers})

    @bentoml.api(route="/feedback")
    async def feedback(
        self,
        prediction_id: str,
        truth: str,
        who: str | None = None,
        source: str | None = None,
        strength: Strength = Strength.WEAK,
        at: str | None = None,
    ) -> schemas.Recorded:
        """What an image really was; it is on disk when this returns."""
        request_id = new_request_id()
        row = {"prediction_id": prediction_id, "truth": truth, "who": who, "source": source,
               "strength": strength, "at": at}  # fmt: skip
        [answer] = await asyncio.to_thread(self.recorder.record, request_id, [row])
        if error := answer.get("error"):
            raise RequestError(400, error["reason"], error["detail"])
        return schemas.Recorded(request_id=request_id, recorded=1, **answer)

    @bentoml.api(route="/status")
    async def status(self) -> schemas.Status:
        """The model that answers, and the problem that keeps a newer release from being served."""
        return schemas.Status.model_validate(self.state())

    async def answers(
        self,
        files: list[tuple[str, bytes]],
        request_id: str | None = None,
        sender: Sender = NOBODY,
    ) -> tuple[str, list[Answer]]:
        """The id of the request, and an answer for each file by name and content."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """The state of this worker as JSON."""
        raise NotImplementedError
