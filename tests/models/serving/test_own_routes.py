"""Our application answers its own paths, and BentoML the others."""

import asyncio
from typing import Any, cast

import pytest

from models.serving import service
from models.serving.own_routes import OwnRoutes


def answered_by(path: str, kind: str = "http") -> str:
    reached: list[str] = []

    def app(name: str) -> Any:
        async def answer(scope: Any, receive: Any, send: Any) -> None:
            reached.append(name)

        return answer

    routes = OwnRoutes(app("bentoml"), ours=app("ours"), routes=service.app.routes)
    asyncio.run(routes({"type": kind, "path": path}, cast(Any, None), cast(Any, None)))
    [name] = reached
    return name


@pytest.mark.parametrize(
    "path",
    ["/predict", "/predict/", "/feedback", "/status", "/metrics", "/docs.json",
     "/label-studio/predict"],
)  # fmt: skip
def test_our_paths_are_ours(path: str) -> None:
    assert answered_by(path) == "ours"


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/schema.json", "/label-studio-2"])
def test_other_paths_are_bentomls(path: str) -> None:
    assert answered_by(path) == "bentoml"


def test_what_is_no_request_is_bentomls() -> None:
    assert answered_by("/predict", "websocket") == "bentoml"


def test_each_route_that_bentoml_would_answer_is_ours_and_token_and_counters_come_before() -> None:
    hone = cast(Any, service.Hone)
    *before, (last, options) = hone.middlewares
    assert last is OwnRoutes and options["ours"] is service.app and len(before) == 3
    assert {api.route for api in hone.apis.values()} == {"/predict", "/feedback", "/status"}
    assert {answered_by(api.route) for api in hone.apis.values()} == {"ours"}
