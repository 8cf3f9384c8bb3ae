"""Reading begins before the model is there, once, and ends when nobody waits for it."""

import json
import pickle
import signal
import threading
import time
from contextlib import closing

import numpy as np
import pytest

from claip_emo import EmotionRecognizer
from claip_emo.inference import reader as module
from claip_emo.inference.pipeline import AbandonedError
from claip_emo.inference.reader import Reader
from claip_emo.media.decode import MediaError
from claip_emo.model.checkpoint_folder import CheckpointError, packaged, resolve
from claip_emo.model.description import ModalityError
from claip_emo.model.processor_settings import ProcessorSettings

from ..media.make_media import ramp, tone, write
from ..processes import run_python

SETTINGS = ProcessorSettings(num_frames=4, image_size_px=32, audio_s=0.5)


@pytest.fixture
def film(tmp_path):
    write(tmp_path / "film.mp4", ramp(20), tone(0.8))
    return tmp_path / "film.mp4"


def test_a_file_is_read_without_torch(film) -> None:
    script = (
        "import sys\n"
        "from claip_emo.inference.reader import Reader\n"
        "from claip_emo.model.checkpoint_folder import resolve\n"
        "reader = Reader.of_checkpoint(resolve(None), face_detector='haar')\n"
        f"print(reader.load({str(film)!r}, 'av').frames.shape)\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))\n"
    )
    done = run_python(script)
    shape, heavy = done.stdout.splitlines()
    assert shape.startswith("(1, 16, 64, 64, 3)")
    assert heavy == "[]"


def test_what_was_begun_is_read_once(film, monkeypatch) -> None:
    load, opened = module.load_clip, []
    monkeypatch.setattr(
        module, "load_clip", lambda path, *a, **k: opened.append(path) or load(path, *a, **k)
    )
    reader = Reader(SETTINGS, "av", face_detector="none")
    reader.begin(film)
    begun = reader.load(str(film), "av")
    assert opened == [film]
    again = reader.load(film, "av")
    assert opened == [film, film]
    np.testing.assert_array_equal(begun.frames, again.frames)
    np.testing.assert_array_equal(begun.waveforms[0], again.waveforms[0])
    reader.begin(film, "audio")
    assert reader.load(film, "v").has_video  # not what was begun
    assert not reader.load(film, "a").has_video
    assert len(opened) == 4


def test_what_fails_fails_where_it_is_waited_for(tmp_path) -> None:
    reader = Reader(SETTINGS, "av", face_detector="none")
    reader.begin(tmp_path / "nowhere.mp4")
    with pytest.raises(MediaError, match="no such file"):
        reader.load(tmp_path / "nowhere.mp4", "av")


def test_closing_ends_what_was_begun(film) -> None:
    looked, go_on = threading.Event(), threading.Event()

    class Slow:
        name, seen = "slow", 0

        def detect(self, frame):
            self.seen += 1
            looked.set()
            go_on.wait(20)
            return np.zeros((0, 5), np.float32)

    reader = Reader(SETTINGS, "av")
    reader.detector = Slow()
    reader.begin(film)
    assert looked.wait(20)
    reader.close()
    go_on.set()
    with pytest.raises(AbandonedError):
        reader.load(film, "av")
    assert reader.detector.seen == 1


def test_an_interrupted_prediction_does_not_wait_for_what_was_begun(film) -> None:
    go_on, seen = threading.Event(), []

    class Slow:
        name = "slow"

        def detect(self, frame):
            seen.append(time.monotonic())
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            go_on.wait(10)
            return np.zeros((0, 5), np.float32)

    quick = EmotionRecognizer.from_pretrained()
    reader = Reader(quick.predictor.settings, "av")
    reader.detector = Slow()
    recognizer = EmotionRecognizer(quick.predictor, reader=reader)

    def predict() -> None:
        with closing(reader):
            reader.begin(film)
            with closing(recognizer.many([film])) as rows:
                next(rows)

    try:
        with pytest.raises(KeyboardInterrupt):
            predict()
        assert time.monotonic() - seen[0] < 5
    finally:
        go_on.set()
    assert len(seen) == 1


def test_a_reader_can_be_pickled_and_belongs_to_its_model() -> None:
    again = pickle.loads(pickle.dumps(Reader(SETTINGS, "av", face_detector="haar")))
    assert (again.settings, again.reads, again.detector.name) == (SETTINGS, "av", "haar")
    quick = EmotionRecognizer.from_pretrained()
    own = quick.predictor.settings
    for settings, reads, choices in (
        (own, "v", {}), (SETTINGS, "av", {}), (own, "av", {"face_detector": "none"}),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="reader"):
            EmotionRecognizer(quick.predictor, reader=Reader(settings, reads), **choices)


def test_what_the_model_does_not_read_is_told_before_reading(film) -> None:
    with pytest.raises(ModalityError, match="reads voices only"):
        Reader(SETTINGS, "a").begin(film, "video")
    assert Reader(SETTINGS, "a").detector is None


def test_an_incomplete_checkpoint_is_named(tmp_path) -> None:
    assert resolve(None) == packaged()
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        resolve(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"processor_config\.json cannot be read"):
        Reader.of_checkpoint(resolve(tmp_path))
    whole = packaged() / "processor_config.json"
    (tmp_path / "processor_config.json").write_bytes(whole.read_bytes())
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        Reader.of_checkpoint(tmp_path)
    for modality in (None, 7, "x", ["a"]):
        (tmp_path / "config.json").write_text(json.dumps({"modality": modality}))
        with pytest.raises(CheckpointError, match="modality is"):
            Reader.of_checkpoint(tmp_path)


def test_the_command_needs_no_torch(film) -> None:
    script = (
        "import sys\n"
        "from claip_emo.inference import reader\n"
        "load, early = reader.load_clip, []\n"
        "def noted(*given, **how):\n"
        "    early.append('claip_emo.model.folded' in sys.modules)\n"
        "    return load(*given, **how)\n"
        "reader.load_clip = noted\n"
        "from claip_emo.cli.main import main\n"
        f"sys.argv = ['claip-emo', 'predict', '--json', {str(film)!r}]\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print(early, sorted({'torch', 'transformers', 'peft', 'scipy'} & set(sys.modules)))\n"
    )
    done = run_python(script)
    row, seen = done.stdout.splitlines()
    assert json.loads(row)["error"] is None
    assert seen == "[False] []"
