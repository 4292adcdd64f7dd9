"""The description says what the server does: the same routes, and every answer to anything fits it."""

from __future__ import annotations

import hypothesis
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.routing import Route

from tvrkit.serve.app import make_app
from tvrkit.serve.openapi import description

FIT = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def test_routes_and_description_are_the_same(service):
    app = make_app(service)
    pages = {route.path for route in app.routes if route.path == "/" or route.path.startswith("/page")}
    served = {
        (route.path, method.lower())
        for route in app.routes
        if isinstance(route, Route) and route.path not in {*pages, "/openapi.json"}
        for method in route.methods - {"HEAD"}
    }
    described = {(path, method) for path, item in description(token=False)["paths"].items() for method in item}
    assert served == described


def test_it_says_whether_a_token_is_wanted(client):
    assert client.get("/openapi.json").json()["security"] == []
    assert description(token=True)["security"] == [{"token": []}]


schema = schemathesis.openapi.from_dict(description(token=False))


@schema.parametrize()
@hypothesis.settings(
    max_examples=20, derandomize=True, database=None, deadline=None, phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)  # fmt: skip
def test_every_answer_fits_the_description(case, running, service):
    """Right and wrong questions: no 5xx, nothing but what is described, wrong ones refused."""
    base = f"http://127.0.0.1:{running[1]}"
    answer = case.call(base_url=base)
    case.validate_response(answer, checks=[*FIT, negative_data_rejection])
    assert answer.status_code < 500
    if "video" in (case.path_parameters or {}):  # chance names no video
        case.path_parameters["video"] = sorted(service.snapshot.facts)[0]
        answer = case.call(base_url=base)
        case.validate_response(answer, checks=FIT)
        assert answer.status_code < 500
