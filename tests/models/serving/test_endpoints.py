"""The OpenAPI document says what the service does: its routes, its refusals, its answers."""

import ast
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as bounded
from schemathesis import GenerationMode
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.routing import Route

from models.serving import endpoints, service
from models.serving.endpoints import ENDPOINTS, document, refusals_of
from tests.models.saved_models import make_workspace, png, put_in_service, save

ROOT = Path(__file__).parents[3]
EXAMPLES = 12  # requests of each kind for each endpoint
CHECKS: list[CheckFunction] = [
    not_a_server_error, status_code_conformance, content_type_conformance,
    response_headers_conformance, response_schema_conformance,
]  # fmt: skip
OF_BENTOML = {"/livez", "/readyz"}
TAKE_NOTHING = {"/status", "/metrics"}  # so that nothing about a request can be bad
NOT_SHOWN = {"/docs.json"}  # the document itself
OF_LABEL_STUDIO = "models/serving/label_studio.py"  # its own protocol, described in a guide
ANSWERS = sorted({one for endpoint in ENDPOINTS for one in endpoint.answers}, key=str)
REASON = re.compile(r"[A-Z][A-Z_]+")


@pytest.fixture(scope="module")
def hone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The real service with a released model, in this process."""
    workspace, engine = make_workspace(tmp_path_factory.mktemp("openapi") / "workspace")
    put_in_service(engine, save(workspace, engine))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HONE_WORKSPACE", str(workspace.root))
        hone = service.Hone()
        yield hone
        hone.end()
    shutil.rmtree(workspace.root)


def routes() -> set[tuple[str, str]]:
    """Method and path of each route of the application, in one of its two spellings."""
    return {
        (method.lower(), route.path)
        for route in service.app.routes
        if isinstance(route, Route) and not route.path.endswith("/")
        for method in route.methods or ()
        if method != "HEAD"
    }


def test_each_route_is_in_the_document_and_each_of_the_document_is_a_route() -> None:
    shown = {(one.method, one.path) for one in ENDPOINTS if one.path not in OF_BENTOML}
    also = {("post", "/status")}  # for BentoML's clients
    assert shown == {one for one in routes() - also if one[1] not in NOT_SHOWN}


def test_each_parameter_of_an_operation_is_there_once() -> None:
    for endpoint in ENDPOINTS:
        named = [(one["name"].lower(), one["in"]) for one in endpoint.parameters]
        assert sorted(set(named)) == sorted(named), endpoint.path


def refused_with(call: ast.Call) -> tuple[Any, Any] | None:
    """Status and reason of a `RequestError`; a status that is computed is None."""
    if not (isinstance(call.func, ast.Name) and call.func.id == "RequestError"):
        return None
    status, reason = (one.value if isinstance(one, ast.Constant) else None for one in call.args[:2])
    return status, reason


def test_each_reason_of_a_refusal_is_in_document_and_guide() -> None:
    documented = {
        (status, reason)
        for endpoint in ENDPOINTS
        for status, reasons in refusals_of(endpoint).items()
        for reason in reasons
    }
    in_code = {
        refused
        for path in sorted((ROOT / "models" / "serving").glob("*.py"))
        if path.relative_to(ROOT).as_posix() != OF_LABEL_STUDIO
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and (refused := refused_with(node)) and all(refused)
    }
    assert in_code - documented == set()
    guide = (ROOT / "docs" / "guides" / "serve.md").read_text(encoding="utf-8")
    guide += (ROOT / "docs" / "guides" / "feedback.md").read_text(encoding="utf-8")
    assert {reason for _, reason in documented} - set(REASON.findall(guide)) == set()


def as_read(answer: Any, shown: Any) -> Any:
    """What a schema takes of some JSON; one that does not fit is an error."""
    return answer.model_validate(shown).model_dump(exclude_unset=True)


@pytest.mark.parametrize("answer", ANSWERS)
def test_each_example_is_an_answer(answer: Any) -> None:
    shown = endpoints._example(answer)
    assert as_read(answer, shown) == shown
    refused = endpoints.schemas.ALL_REFUSED.get(answer, shown)
    assert as_read(answer, refused) == refused


def test_real_answers_have_exactly_the_documented_fields(hone: Any) -> None:
    client = in_process()
    answered = client.post(
        "/predict", files=[("images", ("a.png", png())), ("images", ("b.png", b"x"))]
    ).json()
    assert as_read(endpoints.schemas.Answers, answered) == answered
    prediction = answered["predictions"][0]["prediction_id"]
    looked_up = client.get(f"/predictions/{prediction}").json()
    assert as_read(endpoints.schemas.Prediction, looked_up) == looked_up
    truth = {"prediction_id": prediction, "truth": "cat"}
    for sent, answer in ((truth, "Recorded"), ([truth, {}], "RecordedList")):
        recorded = client.post("/feedback", json=sent).json()
        assert as_read(getattr(endpoints.schemas, answer), recorded) == recorded
    status = client.get("/status").json()
    assert set(endpoints.schemas.Status.model_fields) == set(status)
    assert client.post("/status", json={}).json()["model"] == status["model"]


def in_process() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it would rather have a successor of httpx
        from starlette.testclient import TestClient
    return TestClient(service.app)


def test_the_document_is_served_with_the_version_of_the_bento(hone: Any) -> None:
    served = in_process().get("/docs.json").json()
    assert served == document("none")
    assert document("0002-a")["info"]["version"] == "0002-a"


def answered_with(cases: Any) -> set[int]:
    """The statuses of the answers to some cases; an answer that is not documented is an error."""
    statuses = set()

    @bounded(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=cases)
    def call(case: schemathesis.Case) -> None:
        statuses.add(case.call_and_validate(checks=CHECKS).status_code)

    call()
    return statuses


@pytest.mark.parametrize("mode", GenerationMode)
def test_whatever_the_document_allows_or_forbids_gets_a_documented_answer(
    hone: Any, mode: GenerationMode
) -> None:
    """Requests that are made from the document, good and bad ones, to the real application."""
    schema: Any = schemathesis.openapi.from_asgi("/docs.json", service.app)
    left_out = OF_BENTOML if mode is GenerationMode.POSITIVE else {*OF_BENTOML, *TAKE_NOTHING}
    statuses = {
        result.ok().path: answered_with(result.ok().as_strategy(mode))
        for result in schema.exclude(path=sorted(left_out)).get_all_operations()
    }
    assert set(statuses) == {one.path for one in ENDPOINTS} - left_out
    for path, answered in statuses.items():
        assert answered == {200} if path in TAKE_NOTHING else answered & {400, 404, 415}, path
