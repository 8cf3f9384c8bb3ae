"""Requests and answers: rows are those of predict, and every mistake has its code."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from claip_emo.media.clip import Clip

from ..media.make_media import ramp, tone, write
from .client import BOUNDARY, form
from .conftest import LIMITS, served

KEY = "0123456789abcdef"


def test_a_row_is_that_of_predict(client, recognizer, both) -> None:
    for modality in ("av", "video", "audio"):
        answer = client.post(both, modality=modality)
        assert answer.status == 200, answer.body
        wanted = recognizer(both, modality=modality).to_dict()
        del wanted["path"]
        found = answer.json
        assert found.pop("scores") == pytest.approx(wanted.pop("scores"), abs=1e-6)
        assert found == wanted


def test_a_timeline_is_that_of_predict(client, recognizer, both) -> None:
    answer = client.post(both, "timeline", window="1.0", hop="0.25", faces="all")
    assert answer.status == 200, answer.body
    wanted = recognizer.timeline(both, window_s=1.0, hop_s=0.25, faces="all").to_dict()
    del wanted["path"]
    assert {*answer.json} == {*wanted}
    found = answer.json["people"][0]
    for key in ("id", "first_s", "last_s"):
        assert found[key] == wanted["people"][0][key]
    assert len(found["windows"]) == len(wanted["people"][0]["windows"]) > 3
    for one, other in zip(found["windows"], wanted["people"][0]["windows"], strict=True):
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-6)
    assert answer.json["warnings"] == wanted["warnings"]


def test_sounds_pictures_and_mute_videos_are_taken(client, tmp_path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), ramp(1)[0])
    cv2.imwrite(str(tmp_path / "a.jpg"), ramp(1)[0])
    files = [
        (write(tmp_path / "mute.mkv", ramp(10)), ["video"]),
        (write(tmp_path / "voice.wav", None, tone(1.0)), ["audio"]),
        (write(tmp_path / "voice.flac", None, tone(1.0)), ["audio"]),
        (tmp_path / "a.png", ["video"]),
        (tmp_path / "a.jpg", ["video"]),
    ]
    for path, used in files:
        answer = client.post(path)
        assert answer.status == 200, (path, answer.body)
        assert answer.json["modalities"] == used


@pytest.mark.parametrize(
    ("content", "fields", "status", "code"),
    [
        (b"", {}, 415, "not_media"),
        (b"#!/bin/sh\nrm -rf /\n" * 10, {}, 415, "not_media"),
        (b"%PDF-1.7" + bytes(100), {}, 415, "not_media"),
        (b"PK\x03\x04" + bytes(100), {}, 415, "not_media"),
        (b"\x80\x04\x95" + bytes(100), {}, 415, "not_media"),  # a pickle
        (b"#EXTM3U\n#EXTINF:1\nfile:///etc/passwd\n" * 3, {}, 415, "not_media"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", {}, 415, "not_media"),
        (b"\x00\x00\x00\x18ftypmp42" + bytes(500), {}, 400, "unreadable"),
        (b"RIFF\xff\xff\xff\xffWAVE" + bytes(100), {}, 400, "unreadable"),
        (b"\x1aE\xdf\xa3" + bytes(500), {}, 400, "unreadable"),
        (bytes(3_000_000), {}, 413, "too_large"),
        (b"\x1aE\xdf\xa3" + bytes(LIMITS.max_bytes), {}, 413, "too_large"),
        (None, {"modality": "smell"}, 422, "wrong_parameters"),
        (None, {"model": "../../etc"}, 422, "wrong_parameters"),
        (None, {"path": "/etc/passwd"}, 422, "wrong_parameters"),
        (None, {"modality": "x" * 300}, 422, "wrong_parameters"),
    ],
)
def test_mistakes_have_their_code(client, both, content, fields, status, code) -> None:
    answer = client.post(both if content is None else content, **fields)
    assert (answer.status, answer.code) == (status, code)
    assert client.post(both).status == 200  # the next one


def test_what_is_refused_when_all_of_it_has_come_is_not_listened_for(client, both) -> None:
    """Nothing is on its way that would have to be heard out."""
    assert client.post(both, modality="smell").headers.get("connection") != "close"
    assert client.post(bytes(3_000_000)).headers["connection"] == "close"


@pytest.mark.parametrize(
    "fields",
    [
        {"window": "0"}, {"window": "nan"}, {"window": "x"}, {"hop": "9"}, {"hop": "-1"},
        {"faces": "some"}, {"window": "inf"}, {"hop": ""},
    ],
)  # fmt: skip
def test_windows_that_are_none(client, both, fields) -> None:
    answer = client.post(both, "timeline", **fields)
    assert (answer.status, answer.code) == (422, "wrong_parameters")


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"", f"multipart/form-data; boundary={BOUNDARY}", 400, "bad_upload"),
        (b"nonsense", f"multipart/form-data; boundary={BOUNDARY}", 400, "bad_upload"),
        (form(b"\x1aE\xdf\xa3" * 99)[:-10], f"multipart/form-data; boundary={BOUNDARY}", 400,
         "bad_upload"),
        (form(b"x" * 99), "multipart/form-data", 415, "not_media"),
        (form(b"x" * 99), "application/json", 415, "not_media"),
        (b'{"file": "/etc/passwd"}', "application/json", 415, "not_media"),
        (f"--{BOUNDARY}--\r\n".encode(), f"multipart/form-data; boundary={BOUNDARY}", 422,
         "wrong_parameters"),
        (form(b"a" * 99).replace(b'name="file"', b'name="files"'),
         f"multipart/form-data; boundary={BOUNDARY}", 422, "wrong_parameters"),
        (form(b"").replace(b"Content-Disposition", b"X-" + b"y" * 5000),
         f"multipart/form-data; boundary={BOUNDARY}", 400, "bad_upload"),
    ],
)  # fmt: skip
def test_bodies_that_are_no_upload(client, body, kind, status, code) -> None:
    answer = client.ask("POST", "/v1/predict", body, {"Content-Type": kind})
    assert (answer.status, answer.code) == (status, code), answer.body


def test_a_file_twice_is_refused(client, both) -> None:
    body = form(both.read_bytes())
    twice = body[: -len(f"--{BOUNDARY}--\r\n")] + body
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    answer = client.ask("POST", "/v1/predict", twice, kind)
    assert (answer.status, answer.code) == (422, "wrong_parameters")
    assert "twice" in answer.json["detail"]


@pytest.mark.parametrize(
    "name", ["../../../../etc/passwd", "/etc/cron.d/x", "C:\\x", "a\x00b", "%2e%2e/x", "x" * 3000,
             "\u202egnp.exe", "$(touch /tmp/owned).mp4"],
)  # fmt: skip
def test_names_are_not_used(client, both, name) -> None:
    answer = client.post(both, name=name.replace("\x00", "%00"))
    assert answer.status == 200, answer.body
    assert "passwd" not in answer.body.decode()
    assert not Path("/tmp/owned").exists()


def test_recordings_that_are_too_long_or_too_large(client, tmp_path) -> None:
    long = write(tmp_path / "long.wav", None, np.zeros(8000 * 25, np.float32), rate=8000)
    answer = client.post(long)
    assert (answer.status, answer.code) == (413, "too_large")
    assert "25 s; at most 20 s" in answer.json["detail"]
    wide = write(tmp_path / "wide.mp4", ramp(3, height=16, width=8400))
    large = write(tmp_path / "large.mp4", ramp(3, height=700, width=700))
    for path in (wide, large):
        answer = client.post(path)
        assert (answer.status, answer.code) == (413, "too_large"), answer.body
        assert "px" in answer.json["detail"]


def test_state(client, server) -> None:
    assert client.get("/healthz").json == {"status": "ok"}
    assert client.get("/readyz").json == {"status": "ready"}
    (model,) = client.get("/v1/models").json["models"]
    assert len(model["labels"]) == 7
    assert "must not be used to judge" in model["use"]
    assert model["limits"]["max_bytes"] == LIMITS.max_bytes
    assert client.get("/nowhere").code == "not_found"
    assert client.get("/v1/predict").code == "method_not_allowed"
    text = client.get("/metrics").body.decode()
    assert 'claip_emo_requests_total{route="/nowhere"' not in text
    assert 'claip_emo_requests_total{route="other",status="404"}' in text
    assert "claip_emo_in_flight 0.0" in text


def test_the_schema_is_whole(client) -> None:
    schema = client.get("/openapi.json").json
    for route in ("predict", "timeline"):
        post = schema["paths"][f"/v1/{route}"]["post"]
        assert {"200", "400", "401", "408", "413", "415", "422", "429", "500", "503", "504"} == {
            *post["responses"]
        }
        (content,) = post["requestBody"]["content"].values()
        assert content["schema"]["required"] == ["file"]


def test_a_key_is_asked_for(recognizer, both) -> None:
    with served(recognizer, api_key=KEY) as (client, _, _):
        for headers in (
            {}, {"Authorization": "Bearer wrong"}, {"X-API-Key": KEY[:-1]},
            {"Authorization": f"Basic {KEY}"}, {"Authorization": "Bearer \xe9"},
        ):  # fmt: skip
            answer = client.post(both, headers=headers)
            assert (answer.status, answer.code) == (401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
            assert client.get("/v1/models", **headers).status == 401
        for headers in ({"Authorization": f"Bearer {KEY}"}, {"X-API-Key": KEY}):
            assert client.post(both, headers=headers).status == 200
        assert client.get("/healthz").status == client.get("/metrics").status == 200


def test_lines_of_the_log_hold_nothing_of_requests(recognizer, both, capsys) -> None:
    with served(recognizer) as (client, _, _):
        client.post(both, name="secret-name.mp4", headers={"X-Secret": "secret-header"})
        client.get("/secret-path?secret=1")
    out = capsys.readouterr().out
    lines = [json.loads(line) for line in out.splitlines()]
    assert "secret" not in out
    post = next(line for line in lines if line["method"] == "POST")
    assert set(post) == {
        "time", "request", "method", "route", "status", "ms", "bytes_in", "bytes_out",
    }  # fmt: skip
    assert (post["route"], post["status"]) == ("/v1/predict", 200)
    assert post["bytes_in"] > both.stat().st_size


def test_what_the_model_cannot_score_is_an_error_of_the_server(
    recognizer, both, monkeypatch
) -> None:
    def broken(clips: list[Clip], *_: object) -> None:
        raise RuntimeError("secret: the model's weights are at /root")

    with served(recognizer) as (client, _, _):
        monkeypatch.setattr(type(recognizer.predictor), "score", broken)
        answer = client.post(both)
        assert (answer.status, answer.code) == (500, "internal")
        assert "secret" not in answer.body.decode()
        monkeypatch.undo()
        assert client.post(both).status == 200
