"""Requests made from the OpenAPI, right ones and wrong ones: every answer is one it describes."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.failures import FailureGroup

EXAMPLES = 15  # of each route; the whole trial has 300


@pytest.fixture(scope="module")
def schema(server):
    return schemathesis.openapi.from_url(f"http://127.0.0.1:{server[0].port}/openapi.json")


def test_nothing_is_answered_that_is_not_described(schema) -> None:
    seen = []
    for result in schema.get_all_operations():
        operation = result.ok()
        seen.append(operation.path)
        _check(operation)
    assert {"/v1/predict", "/v1/timeline", "/v1/models", "/healthz", "/readyz", "/metrics"} == {
        *seen
    }


def _check(operation) -> None:
    @given(case=operation.as_strategy())
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), derandomize=True,
    )  # fmt: skip
    def run(case) -> None:
        try:
            case.call_and_validate()
        except FailureGroup as failures:
            pytest.fail(f"{operation.label}: {failures.exceptions}")

    run()
