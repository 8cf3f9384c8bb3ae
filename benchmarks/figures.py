"""One figure per claim, from the JSON of its result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

OURS, OTHER, THIRD = "#0b6e99", "#b8bec4", "#d98324"
GOAL = {"color": "#444444", "linestyle": "--", "linewidth": 1}
Result = dict[str, Any]

STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "font.size": 9,
    "legend.frameon": False,
    "figure.dpi": 150,
}


def draw(result: Result, path: Path) -> None:
    """Draw a result."""
    with mpl.rc_context(STYLE):
        plot, panels, size = FIGURES[result["name"]]
        figure = Figure(figsize=size, layout="constrained")
        axes = np.atleast_1d(figure.subplots(1, panels))
        plot(axes, result)
        figure.text(0.995, -0.01, _footer(result), ha="right", va="top", fontsize=6.5, color="#666")
        figure.savefig(path, bbox_inches="tight")


def _footer(result: Result) -> str:
    known = result["machine"]
    return (
        f"{known['processor']}, {known['cores']} cores, {known['capability']} · "
        f"commit {result['commit']} · {result['date'][:10]} · {result['command']}"
    )


def _bars(axes: Axes, names: list[str], values: list[float], colours: list[str], form: str) -> None:
    """Draw bars with their values at their ends."""
    bars = axes.barh(range(len(names)), values, color=colours, height=0.65)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    texts = axes.bar_label(bars, [form.format(value) for value in values], padding=3)
    for text in texts:  # a goal's line may lie behind
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})
    axes.margins(x=0.25)


def _pairs(axes: Axes, rows: dict[str, Any], per: str) -> None:
    """Draw the seconds of both ways, backbone by backbone, with their spread."""
    place = 0
    names = []
    for backbone, row in rows.items():
        for way, colour in (("released", OTHER), ("ours", OURS)):
            timing = row[way]
            spread = [
                [timing["median_s"] - timing["fastest_s"]],
                [timing["slowest_s"] - timing["median_s"]],
            ]
            axes.barh(place, timing["median_s"], color=colour, height=0.7, xerr=spread)
            text = f"  {timing['median_s']:.2f} s"
            axes.text(timing["slowest_s"], place, text, va="center")
            names.append(f"{backbone}, {way}" + (f" ({row['precision']})" if way == "ours" else ""))
            place += 1
    axes.set_yticks(range(place), names)
    axes.invert_yaxis()
    axes.margins(x=0.25)
    axes.set_xlabel(f"seconds per {per}")


def _evaluate(axes: np.ndarray, result: Result) -> None:
    rows = result["details"]["backbones"]
    _pairs(axes[0], rows, "clip")
    axes[0].set_title("Evaluation")
    names, values = [], []
    for backbone, row in rows.items():
        names.append(f"{backbone}, as in DFEW")
        values.append(row["factor"]["median"])
        if "int8" in row:
            names.append(f"{backbone}, as in DFEW, int8")
            values.append(row["int8"]["factor"]["median"])
        for case, found in row["cases"].items():
            names.append(f"{backbone}, {case}")
            values.append(found["factor"]["median"])
    _bars(axes[1], names, values, [OURS] * len(names), "{:.1f} x")
    axes[1].axvline(result["goal"], **GOAL)
    axes[1].set_title("Times faster (dashed: goal)")


def _labels(axes: np.ndarray, result: Result) -> None:
    rows = result["details"]["backbones"]
    ways = [(f"{name}, {way}", row[way]) for name, row in rows.items() for way in ("bf16", "int8")]
    names, colours = [name for name, _ in ways], [OURS] * len(ways)
    _bars(axes[0], names, [row["distance"] for _, row in ways], colours, "{:.1e}")
    axes[0].ticklabel_format(axis="x", style="sci", scilimits=(0, 0))
    axes[0].set_title("Largest difference of a probability")
    shares = [100 * (row["agreement"] or 0) for _, row in ways]
    _bars(axes[1], names, shares, colours, "{:.1f} %")
    axes[1].set_title("Labels as in fp32")


def _train_step(axes: np.ndarray, result: Result) -> None:
    rows = result["details"]["backbones"]
    _pairs(axes[0], rows, "clip")
    axes[0].set_title("Training step")
    names = [f"{backbone}, {way}" for backbone in rows for way in ("released", "ours")]
    values = [row[way]["peak_mib"] / 1024 for row in rows.values() for way in ("released", "ours")]
    _bars(axes[1], names, values, [OTHER, OURS] * len(rows), "{:.2f} GiB")
    axes[1].set_title("Peak memory beside the model")


def _loader(axes: np.ndarray, result: Result) -> None:
    times = result["details"]["times"]
    names = list(times)
    values = [times[name]["median_s"] * 1000 for name in names]
    colours = [OTHER if name.startswith("released") else OURS for name in names]
    _bars(axes[0], names, values, colours, "{:.1f} ms")
    axes[0].set_title("Reading a clip, one core")
    decoders = result["details"]["jpeg"]
    _bars(axes[1], list(decoders), list(decoders.values()), [OURS] * len(decoders), "{:.2f} ms")
    axes[1].set_title("A 224 px JPEG frame")


def _bf16(axes: np.ndarray, result: Result) -> None:
    rows = result["details"]["forward"]
    shares = [row["share"]["median"] for row in rows.values()]
    colours = [OURS if name.endswith("bf16") else OTHER for name in rows]
    emulated = any(each.startswith("bf16") for each in result["machine"]["missing_instructions"])
    names = [f"{name}, emulated" if emulated and name.endswith("bf16") else name for name in rows]
    _bars(axes[0], names, shares, colours, "{:.2f}")
    axes[0].axvline(result["goal"], **GOAL)
    axes[0].set_title("Share of the GEMM rate (dashed: goal)")
    _roofline(axes[1], result["details"])


def _roofline(axes: Axes, details: Result) -> None:
    """Draw each stage's rate against its operations per byte, below what the machine can do."""
    peak, copy = details["gemm_gflops"]["fp32"], details["copy_gbs"]
    reach = np.geomspace(0.05, 500, 200)
    axes.plot(reach, np.minimum(peak, reach * copy), color="#444444", linewidth=1)
    axes.text(4, peak * 1.15, f"{peak:.0f} GFLOP/s, fp32 GEMM", fontsize=7)
    axes.text(0.06, 0.06 * copy * 1.6, f"{copy:.0f} GB/s, copy", rotation=38, fontsize=7)
    for colour, (backbone, stages) in zip((OURS, THIRD), details["stages"].items(), strict=False):
        for name, stage in stages.items():
            intensity = stage["operations"] / stage["bytes"]
            rate = stage["operations"] / stage["seconds"] / 1e9
            axes.plot(intensity, rate, "o", color=colour, markersize=4)
            if colour == OURS:  # the others' points lie beside them
                axes.annotate(name, (intensity, rate), (4, -9), textcoords="offset points", size=7)
        axes.plot([], [], "o", color=colour, markersize=4, label=backbone)
    axes.legend(fontsize=7, frameon=False, loc="lower right")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations per byte")
    axes.set_ylabel("GFLOP/s")
    axes.margins(y=0.12)
    axes.set_title("Roofline of one view's stages, fp32")


def _predict(axes: np.ndarray, result: Result) -> None:
    details = result["details"]
    left = 0.0
    parts = ("decoding", "face detection", "towers")
    for name, colour in zip(parts, (OTHER, THIRD, OURS), strict=True):
        seconds = details["times"][name]["median_s"]
        axes[0].barh(0, seconds, left=left, color=colour, label=f"{name}, {seconds:.2f} s")
        left += seconds
    axes[0].barh(1, details["times"]["whole"]["median_s"], color="#444444", label="whole")
    axes[0].set_yticks((0, 1), ("each alone", "one file"))
    axes[0].invert_yaxis()
    axes[0].legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2, fontsize=7)
    axes[0].set_title(f"10 s of 720p, {details['backbone']}, seconds")
    folder = {name: timing["median_s"] for name, timing in details["folder"].items()}
    rows = {f"{name}, per file": value for name, value in folder.items()}
    rows |= {f"towers, {p}": details["int8"][p]["median_s"] for p in ("fp32", "int8")}
    _bars(axes[1], list(rows), list(rows.values()), [OTHER, OURS, OTHER, OURS], "{:.2f} s")
    axes[1].set_title("A folder, and int8")


def _timeline(axes: np.ndarray, result: Result) -> None:
    parts = ("decoding", "face detection", "towers")
    for axis, (name, found) in zip(axes, result["details"]["models"].items(), strict=False):
        left = 0.0
        for part, colour in zip(parts, (OTHER, THIRD, OURS), strict=True):
            seconds = found["times"][part]["median_s"]
            axis.barh(0, seconds, left=left, color=colour, label=f"{part}, {seconds:.0f} s")
            left += seconds
        whole = found["times"]["whole"]["median_s"]
        axis.barh(1, whole, color="#444444", label=f"timeline, {whole:.0f} s")
        axis.set_yticks((0, 1), ("each alone", "timeline"))
        axis.invert_yaxis()
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2, fontsize=7)
        axis.set_title(f"{name}: seconds")


def _scaling(axes: np.ndarray, result: Result) -> None:
    rows = result["details"]["many"]
    done = [row["clips"] for row in rows]
    axes[0].plot(done, [1000 * row["seconds_per_clip"] for row in rows], color=OURS, linewidth=1)
    axes[0].set_ylabel("ms per clip", color=OURS)
    axes[0].set_ylim(bottom=0)
    axes[0].set_xscale("log")
    axes[0].set_xlabel("clips scored so far")
    memory = axes[0].twinx()
    memory.plot(done, [row["memory_mib"] for row in rows], color=THIRD, linewidth=1)
    memory.set_ylim(0, 1.2 * max(row["memory_mib"] for row in rows))
    memory.set_ylabel("memory, MiB", color=THIRD)
    axes[0].set_title("Number of clips")
    videos = result["details"]["videos"]
    lengths = [row["length_s"] for row in videos]
    for key, name, colour in (("read_s", "reading", OURS), ("towers_s", "towers", OTHER)):
        axes[1].plot(lengths, [row[key] for row in videos], "o-", color=colour, label=f"{name}, s")
    axes[1].set_xscale("log")
    axes[1].set_xlabel("length of the video, s")
    axes[1].set_ylabel("seconds")
    axes[1].set_ylim(bottom=0)
    beside = axes[1].twinx()
    beside.plot(lengths, [row["peak_mib"] for row in videos], "o-", color=THIRD)
    beside.set_ylim(0, 1.2 * max(row["peak_mib"] for row in videos))
    beside.set_ylabel("peak memory, MiB", color=THIRD)
    axes[1].legend(loc="center left")
    axes[1].set_title("Length of a video")


def _startup(axes: np.ndarray, result: Result) -> None:
    rows = result["details"]
    names = list(rows)
    titles = ("Until help is shown", "Until a clip of 5 s is answered")
    for axis, pair, check, title in zip(
        axes, (names[:2], names[2:]), result["checks"], titles, strict=True
    ):
        values = [rows[name]["median_s"] for name in pair]
        _bars(axis, pair, values, [OURS, OTHER], "{:.2f} s")
        axis.axvline(check["goal"], **GOAL)
        axis.set_title(f"{title} (dashed: goal)")


def _prepare(axes: np.ndarray, result: Result) -> None:
    names = [result["baseline"]["what"], "claip-emo prepare"]
    values = [result["baseline"]["figure"], result["figure"]]
    _bars(axes[0], names, values, [OTHER, OURS], "{:.1f}")
    axes[0].set_title(f"Clips per second, {result['details']['clips']} clips")


def _export(axes: np.ndarray, result: Result) -> None:
    details = result["details"]
    models = {name: found for name, found in details.items() if isinstance(found, dict)}
    for axis, key, form in zip(
        axes, ("seconds_per_clip", "megabytes"), ("{:.3g} s", "{:.3g} MB"), strict=True
    ):
        rows = {
            f"{model}, {way}": found[key]
            for model, ways in models.items()
            for way, found in ways.items()
            if key in found
        }
        colours = [OTHER if name.endswith("torch") else OURS for name in rows]
        _bars(axis, list(rows), list(rows.values()), colours, form)
        axis.set_xscale("log")
    axes[0].set_title("Scoring a clip")
    axes[1].set_title("ONNX files")


def _batch(axes: np.ndarray, result: Result) -> None:
    runs = result["details"]["workers"]
    names = [f"{count} workers" if int(count) > 1 else "1 worker" for count in runs]
    rates = [run["files_per_second"] for run in runs.values()]
    _bars(axes[0], names, rates, [OTHER, OURS], "{:.1f}")
    axes[0].set_title(f"Files per second, {result['details']['files']} files")
    for run, colour, name in zip(runs.values(), (OTHER, OURS), names, strict=True):
        axes[1].plot(*np.array(run["memory_mib"]).T, color=colour, label=name)
    axes[1].set_ylim(bottom=0)
    axes[1].set_xlabel("seconds")
    axes[1].legend()
    axes[1].set_title("Memory of all processes, MiB")


def _serving(axes: np.ndarray, result: Result) -> None:
    details = result["details"]
    _bars(axes[0], ["batch", "server"],
          [details["batch_files_per_second"], details["answers_per_second"]],
          [OTHER, OURS], "{:.1f}")  # fmt: skip
    axes[0].set_title(f"Files per second, {details['clients']} clients")
    _bars(axes[1], ["one call", "p50", "p95"],
          [result["baseline"]["figure"], details["p50_s"], details["p95_s"]],
          [OTHER, OURS, OURS], "{:.2f} s")  # fmt: skip
    axes[1].set_title("Until the answer")


def _hostile(axes: np.ndarray, result: Result) -> None:
    statuses = sorted(result["details"]["statuses"].items(), key=lambda item: str(item[0]))
    names = [str(status) for status, _ in statuses]
    _bars(axes[0], names, [count for _, count in statuses], [OURS] * len(names), "{:.0f}")
    axes[0].set_title("Answers to hostile files, by status")


Plot = Callable[[np.ndarray, Result], None]
FIGURES: dict[str, tuple[Plot, int, tuple[float, float]]] = {
    "evaluate": (_evaluate, 2, (9, 2.6)),
    "labels": (_labels, 2, (9, 2)),
    "train_step": (_train_step, 2, (9, 2.2)),
    "loader": (_loader, 2, (8, 2)),
    "bf16": (_bf16, 2, (9, 3.4)),
    "predict": (_predict, 2, (9, 2.2)),
    "timeline": (_timeline, 2, (9, 2.2)),
    "scaling": (_scaling, 2, (9, 3)),
    "startup": (_startup, 2, (9, 1.3)),
    "prepare": (_prepare, 1, (6, 1.3)),
    "export": (_export, 2, (9, 2.4)),
    "batch": (_batch, 2, (9, 2.4)),
    "serving": (_serving, 2, (9, 1.8)),
    "hostile": (_hostile, 1, (6, 2.2)),
}
