"""What the server's OpenAPI says of requests and answers, with examples."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from claip_emo.serving.problems import STATUS, TYPE

SCORES = {"happiness": 0.91, "sadness": 0.02, "neutral": 0.07}


class Row(BaseModel):
    """What was recognised in one file: the row of ``claip-emo predict --json`` without ``path``."""

    model_config = ConfigDict(extra="forbid")

    label: str = Field(description="The most probable emotion, or 'uncertain'.", examples=["fear"])
    scores: dict[str, float] = Field(
        description="Probability of each emotion; they sum to 1.", examples=[SCORES]
    )
    duration_s: float = Field(description="Length of the file in seconds.", examples=[3.2])
    face_rate: float | None = Field(
        description="Share of the sampled frames with a face; null without picture or detector."
    )
    modalities: list[str] = Field(description="What was used.", examples=[["video", "audio"]])
    warnings: list[str] = Field(description="What a reader of the result should know.")
    error: None = Field(default=None, description="Always null: errors are problems.")


class Segment(BaseModel):
    """Seconds in which a person shows one emotion."""

    start_s: float
    end_s: float
    label: str
    score: float


class Window(BaseModel):
    """What the model says of some seconds of a person."""

    start_s: float
    end_s: float
    scores: dict[str, float]
    modalities: list[str]


class Person(BaseModel):
    """Somebody in a recording."""

    id: int = Field(description="From 1, in the order in which they appear.")
    first_s: float
    last_s: float
    segments: list[Segment]
    windows: list[Window]


class TimelineRow(BaseModel):
    """Who felt what, when: the object of ``predict --timeline --json`` without ``path``."""

    duration_s: float
    window_s: float
    hop_s: float
    people: list[Person]
    warnings: list[str]
    error: None = None


class Models(BaseModel):
    """The models that answer."""

    models: list[dict[str, Any]]


class Problem(BaseModel):
    """Why a request is not answered as it wishes (RFC 9457); ``code`` does not change."""

    type: str = "about:blank"
    title: str
    status: int
    code: str = Field(examples=["unreadable"])
    detail: str


FILE = {
    "type": "string",
    "format": "binary",
    "description": "A video, a sound or a picture; its name is not used.",
}
MODALITY = {
    "type": "string",
    "enum": ["av", "video", "audio"],
    "default": "av",
    "description": "Use face and voice, or only one of them.",
}
TIMES = {
    "window": {"type": "number", "default": 2.0, "minimum": 0.1, "maximum": 60,
               "description": "Length of a window in seconds."},
    "hop": {"type": "number", "default": 0.5, "exclusiveMinimum": 0, "maximum": 60,
            "description": "From one window to the next, in seconds; at most a window."},
    "faces": {"type": "string", "enum": ["main", "all"], "default": "main",
              "description": "Follow the largest face of each moment, or everybody."},
}  # fmt: skip


def form(**fields: Any) -> dict[str, Any]:
    """Describe a form with a file and other fields."""
    schema = {
        "type": "object",
        "required": ["file"],
        "additionalProperties": False,
        "properties": {"file": FILE, **fields},
    }
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }


def problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Describe the problems that a route has."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in sorted({STATUS[code] for code in codes}):
        own = [code for code in codes if STATUS[code] == status]
        example = {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "code": own[0],
            "detail": "What was wrong, and the mend.",
        }
        found[status] = {
            "model": Problem,
            "description": f"{HTTPStatus(status).phrase}: {', '.join(own)}.",
            "content": {TYPE: {"example": example}},
        }
    return found


UPLOAD_PROBLEMS = problems(
    "unreadable", "bad_upload", "unauthorized", "upload_timeout", "too_large", "not_media",
    "wrong_parameters", "busy", "internal", "shutting_down", "worker_lost", "no_room",
    "over_time",
)  # fmt: skip
