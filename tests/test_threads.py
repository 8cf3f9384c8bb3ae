"""How many threads compute: as many as were chosen, and each product of matrices in one."""

import os
import sys
import threading
import time
import types
from pathlib import Path

import cv2
import pytest
from threadpoolctl import threadpool_info

from claip_emo import threads

from .media.make_media import ramp, tone, write
from .processes import run_python


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch):
    """Two threads a product, of BLAS's own, and no torch."""
    monkeypatch.setattr(threads, "_chosen", None)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for name in threads.OF_THE_ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    threads._let_blas_have([2] * 9)
    yield
    threads._let_blas_have([1] * 9)  # as for all tests


def choose(count: int, monkeypatch) -> None:
    """Choose threads and leave BLAS as it is."""
    monkeypatch.setattr(threads, "_chosen", count)


def of_blas() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def torch_with(count: list[int]) -> types.ModuleType:
    found = types.ModuleType("torch")
    found.set_num_threads = count.append
    found.get_num_threads = lambda: count[-1]
    return found


def test_what_was_chosen_holds_and_torch_is_told_now_or_later(monkeypatch) -> None:
    told = [7]
    threads.use(3)
    assert threads.in_use() == 3
    monkeypatch.setitem(sys.modules, "torch", torch_with(told))
    threads.tell_torch()
    threads.use(2)
    assert (told, threads.in_use()) == ([7, 3, 2], 2)
    threads.use(1)
    assert of_blas() == {1}


def test_without_a_choice_it_is_torchs_or_that_of_the_cores(monkeypatch) -> None:
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: {0, 3, 5})
    assert threads.in_use() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert threads.in_use() == 4
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    assert threads.in_use() == 2
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "many")
    assert threads.in_use() == 3
    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))  # half imported
    threads.tell_torch()
    assert threads.in_use() == 3
    monkeypatch.setitem(sys.modules, "torch", None)  # forbidden
    assert threads.in_use() == 3
    monkeypatch.setitem(sys.modules, "torch", torch_with([5]))
    assert threads.in_use() == 5


@pytest.mark.parametrize("count", [1, 3])
def test_jobs_are_done_at_once_in_their_order(count, monkeypatch) -> None:
    choose(count, monkeypatch)
    meeting = threading.Barrier(count, timeout=10)

    def job(number: int) -> tuple[int, set[int], str]:
        meeting.wait()
        return number, of_blas(), threading.current_thread().name

    found = threads.together([lambda n=n: job(n) for n in range(count * 2)])
    assert [number for number, *_ in found] == list(range(count * 2))
    assert all(blas == {1} for _, blas, _ in found)
    assert len({name for *_, name in found}) == count
    assert of_blas() == {2}
    assert threads.together([]) == []


def test_products_get_their_threads_back_when_the_last_is_done(monkeypatch) -> None:
    choose(1, monkeypatch)
    inside, go_on = threading.Event(), threading.Event()

    def long() -> None:
        inside.set()
        go_on.wait(10)

    other = threading.Thread(target=threads.together, args=([long],))
    other.start()
    assert inside.wait(10)
    with pytest.raises(ZeroDivisionError):
        threads.together([lambda: 1 / 0])
    assert of_blas() == {1}
    go_on.set()
    other.join()
    assert of_blas() == {2}


def test_opencv_has_one_thread_while_anybody_is_inside() -> None:
    former = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        with threads.one_for_each_picture():
            with threads.one_for_each_picture():
                assert cv2.getNumThreads() == 1
            assert cv2.getNumThreads() == 1  # somebody is inside still
        assert cv2.getNumThreads() == 2
        with pytest.raises(ZeroDivisionError), threads.one_for_each_picture():
            raise ZeroDivisionError
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(former)


def test_a_file_is_decoded_with_a_thread_a_core_or_with_one(monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # is for products of matrices
    for cores, expected in ((3, 3), (200, threads.MOST_DECODERS)):
        monkeypatch.setattr(threads, "cores", lambda n=cores: n)
        assert threads.for_each_picture() == expected
    with threads.one_for_each_picture():
        assert threads.for_each_picture() == 1


def test_what_goes_on_after_an_error_keeps_its_limit_and_the_rest_is_not_done(monkeypatch) -> None:
    choose(2, monkeypatch)
    begun, go_on, seen = threading.Event(), threading.Event(), []

    def fail() -> None:
        assert begun.wait(10)
        raise ZeroDivisionError

    def long() -> None:
        begun.set()
        go_on.wait(10)
        seen.append(of_blas())

    with pytest.raises(ZeroDivisionError):
        threads.together([fail, long, long, *[lambda: seen.append("late")] * 3])
    assert of_blas() == {1}
    go_on.set()
    until = time.monotonic() + 10
    while time.monotonic() < until:
        with threads._products.lock:
            if not threads._products.inside:
                break
        time.sleep(0.01)
    assert seen in ([{1}], [{1}, {1}])
    assert of_blas() == {2}


def test_jobs_of_jobs_are_done_one_after_the_other(monkeypatch) -> None:
    choose(2, monkeypatch)

    def inner() -> list[str]:
        return threads.together([lambda: threading.current_thread().name] * 3)

    for names in threads.together([inner] * 4):
        assert len(set(names)) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_begins_anew() -> None:
    """Forked while somebody holds the lock, a process can compute all the same."""
    script = (
        "import os, signal, sys\n"
        "from claip_emo import threads\n"
        "threads.use(2)\n"
        "threads.together([int] * 4)\n"
        "threads._products.lock.acquire()\n"
        "threads._products.inside = 1\n"
        "if not (child := os.fork()):\n"
        "    signal.alarm(20)\n"
        "    os._exit(threads.together([int] * 4) != [0] * 4)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "threads._products.lock.release()\n"
    )
    assert run_python(script).stdout == "0\n"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """Return a checkpoint that torch computes; made before torch is hidden."""
    from claip_emo.labels import SEVEN
    from claip_emo.model.backbones import configure, resolve
    from claip_emo.model.modeling import ClaipEmoModel
    from claip_emo.model.processing import ClaipEmoProcessor

    folder, found = tmp_path_factory.mktemp("tiny"), resolve("tiny-clip")
    ClaipEmoModel(configure(found, SEVEN)).save_pretrained(folder)
    ClaipEmoProcessor.for_backbone(found).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("backbone", [None, "tiny-clip"])
def test_predict_computes_with_as_many_as_it_is_told(backbone, tiny, tmp_path: Path) -> None:
    film = write(tmp_path / "both.mp4", ramp(20), tone(0.8))
    model = ["--model", str(tiny)] if backbone else []
    script = (
        "import sys\n"
        "from claip_emo import threads\n"
        "from claip_emo.cli.main import app\n"
        "from claip_emo.inference.recognizer import EmotionRecognizer\n"
        "many = EmotionRecognizer.many\n"
        "def noted(self, *given, **how):\n"
        "    yield from many(self, *given, **how)\n"
        "    torch = sys.modules.get('torch')\n"
        "    print(threads.in_use(), torch and torch.get_num_threads())\n"
        "EmotionRecognizer.many = noted\n"
        f"app(['predict', {str(film)!r}, '--threads', '1', *{model!r}], standalone_mode=False)\n"
    )
    done = run_python(script, env=os.environ | {"OMP_NUM_THREADS": "2"})
    assert done.stdout.splitlines()[0] == ("1 1" if backbone else "1 None")
