"""Requests made from the OpenAPI, right ones and wrong ones: every answer is one it describes."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import positive_data_acceptance
from schemathesis.transport.serialization import Binary

from ..media.make_media import ramp, tone, write

EXAMPLES = 20  # of each route and mode; the whole trial has 300
ROUTES = {"/v1/predict", "/v1/timeline", "/v1/models", "/healthz", "/readyz", "/metrics"}


@pytest.fixture(scope="module")
def schema(server, tmp_path_factory):
    """What the server says of itself; where it asks for a file there are some."""
    folder = tmp_path_factory.mktemp("schema")
    files = [
        write(folder / "a.mp4", ramp(8), tone(0.3)),
        write(folder / "b.webm", ramp(8)),
        write(folder / "c.wav", None, tone(0.3)),
    ]
    contents = [Binary(file.read_bytes()) for file in files]
    schemathesis.openapi.format("binary", st.sampled_from(contents))
    return schemathesis.openapi.from_url(f"http://127.0.0.1:{server[0].port}/openapi.json")


@pytest.mark.parametrize("mode", GenerationMode)
def test_nothing_is_answered_that_is_not_described(schema, server, mode) -> None:
    seen, statuses = set(), set()
    for found in schema.get_all_operations():
        operation = found.ok()
        seen.add(operation.path)
        if mode is GenerationMode.NEGATIVE and operation.method == "get":
            continue  # nothing is asked for that could be wrong

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck), derandomize=True,
        )  # fmt: skip
        def ask(case) -> None:
            try:
                # Not all can be said in a schema: a hop is at most a window, a sound has no face.
                answer = case.call_and_validate(excluded_checks=[positive_data_acceptance])
                statuses.add(answer.status_code)
            except FailureGroup as failures:
                said = "\n".join(f"{one.title}: {one.message}" for one in failures.exceptions)
                pytest.fail(f"{case.method} {case.path} {repr(case.body)[-200:]}: {said}")

        ask()
    assert seen == ROUTES
    assert (200 in statuses) == (mode is GenerationMode.POSITIVE)
    assert not statuses & {500, 503, 504}
    assert [*server[1].uploads.iterdir()] == []
