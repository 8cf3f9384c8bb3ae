"""How times are taken and compared, how work is counted, and on which clips."""

from __future__ import annotations

import mmap
import os

import cv2
import numpy as np
import pytest
import torch
from benchmarks.arithmetic import count
from benchmarks.labels import compared
from benchmarks.measuring import (
    Timing,
    factors,
    forget_peak,
    interleaved,
    memory_mib,
    one_core,
)
from benchmarks.scaling import flatness
from torch.nn import functional

from benchmarks import clips, machine


def test_jobs_take_turns_and_the_warm_up_is_not_timed() -> None:
    order: list[str] = []
    timed = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    assert order == ["a", "b"] * 3
    assert [len(timing.seconds) for timing in timed.values()] == [2, 2]


def test_factors_are_taken_pair_by_pair() -> None:
    slow, fast = Timing((8.0, 30.0, 9.0)), Timing((2.0, 5.0, 3.0))
    assert factors(slow, fast) == {"median": 4.0, "least": 3.0, "most": 6.0}
    assert slow.to_dict(per=3) == {
        "median_s": 3.0,
        "fastest_s": 8 / 3,
        "slowest_s": 10.0,
        "rounds": 3,
    }


def hold(size_mib: int) -> None:
    """Fill so much memory of the system's own and give it back, whatever malloc keeps."""
    with mmap.mmap(-1, size_mib * 2**20) as held:
        np.frombuffer(held, np.uint8)[:] = 1


def test_the_peak_of_memory_starts_anew() -> None:
    hold(40)
    before = forget_peak()
    assert memory_mib("VmHWM") - before < 10
    hold(100)
    assert memory_mib("VmHWM") - before == pytest.approx(100, abs=10)
    assert memory_mib("VmRSS") - before < 50


def test_one_core_is_given_back() -> None:
    before = os.sched_getaffinity(0), torch.get_num_threads(), cv2.getNumThreads()
    with one_core():
        assert len(os.sched_getaffinity(0)) == torch.get_num_threads() == 1
    assert (os.sched_getaffinity(0), torch.get_num_threads(), cv2.getNumThreads()) == before


def test_operations_and_bytes_of_a_product_attention_and_a_view() -> None:
    inputs, weight = torch.zeros(10, 20), torch.zeros(30, 20)
    work = count(lambda: functional.linear(inputs, weight))
    assert (work.flop, work.elements) == (2 * 10 * 20 * 30, 10 * 30)
    assert work.bytes == 4 * (10 * 20 + 20 * 30 + 10 * 30)
    query = torch.zeros(2, 3, 50, 64)
    attention = count(lambda: functional.scaled_dot_product_attention(query, query, query))
    assert attention.flop == 2 * 3 * (2 * 2 * 50 * 50 * 64)
    assert count(lambda: inputs.t()).bytes == 0


def test_rates_of_this_machine_are_rates() -> None:
    assert 0.1 < machine.gemm_rate("float32", 256, rounds=3) < 1e6
    assert machine.describe()["cores"] >= 1


def test_half_of_the_clips_have_one_distinct_view() -> None:
    lengths = clips.lengths(8)
    assert lengths == [29, 39, 49, 59, 82, 116, 149, 183]
    assert clips.lengths(2) == [44, 132]


def test_even_time_and_flat_memory_after_the_first_hundred() -> None:
    def rows(slow_end: float, gained: float) -> list[dict[str, float]]:
        found = [
            {"clips": 10 * n, "seconds_per_clip": 0.1, "memory_mib": 300.0} for n in range(1, 61)
        ]
        for row in found[:10]:  # up to 100 clips
            row |= {"seconds_per_clip": 5.0, "memory_mib": 900.0}
        for row in found[10::2]:  # something else ran
            row["seconds_per_clip"] = 0.3
        for row in found[50:]:  # the last of five parts
            row["seconds_per_clip"] *= slow_end
            row["memory_mib"] += gained
        found[30]["memory_mib"] = 2000.0  # for a moment
        return found

    assert flatness(rows(1.0, 0.0)) == (0.0, 0.0, 0.0)
    growth, even, medians = flatness(rows(1.2, 7.0))
    assert growth == 7.0
    assert even == pytest.approx(0.2)
    assert medians == pytest.approx(0.2)


def test_what_grows_soon_after_the_first_hundred_is_seen() -> None:
    rows = [{"clips": 10 * n, "seconds_per_clip": 0.1, "memory_mib": 300.0} for n in range(1, 61)]
    for row in rows[15:]:  # within the first of five parts
        row["memory_mib"] = 340.0
    for row in rows[50:]:  # most batches of a part, but not its fastest
        row["seconds_per_clip"] = 0.15
    rows[-1]["seconds_per_clip"] = 0.1
    growth, even, medians = flatness(rows)
    assert (growth, even) == (40.0, 0.0)
    assert medians == pytest.approx(0.5)


def test_labels_are_compared_where_the_margin_is_clear() -> None:
    wide = np.array([[0.5, 0.3, 0.2], [0.40, 0.395, 0.205], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1]])
    narrow = wide.copy()
    narrow[1] = [0.395, 0.40, 0.205]  # a near-tie that turns does not count
    narrow[2] = [0.61, 0.19, 0.2]
    found = compared(wide, narrow)
    assert found["agreement"] == pytest.approx(2 / 3)
    assert found["clear_clips"] == 3
    assert found["compared_clips"] == 4
    assert found["disagreeing"] == [2]
    assert found["distance"] == pytest.approx(0.41)
    assert np.isnan(compared(wide[1:2], narrow[1:2])["agreement"])
