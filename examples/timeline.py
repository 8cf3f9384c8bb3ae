"""Who shows what when, as a plot of one's own: ``python examples/timeline.py talk.mp4 out.png``."""

import sys

from matplotlib.figure import Figure

from claip_emo import EmotionRecognizer

path, out = sys.argv[1:3]
recognizer = EmotionRecognizer.from_pretrained()
timeline = recognizer.timeline(path, window_s=2.0, hop_s=0.5, faces="all")

figure = Figure((9, 2.2 * len(timeline.people)))
lanes = figure.subplots(len(timeline.people), squeeze=False)[:, 0]
for person, axes in zip(timeline.people, lanes, strict=True):
    for stretch in person.stretches:  # a stretch never crosses a cut
        middles = (stretch.curve.edges_s[:-1] + stretch.curve.edges_s[1:]) / 2
        for place, name in enumerate(timeline.labels):
            axes.plot(middles, stretch.curve.scores[:, place], f"C{place}.-", label=name)
    axes.set(ylim=(0, 1), ylabel="probability", title=f"Person {person.id}")
    for segment in person.segments:
        print(
            f"{segment.start_s:7.2f} to {segment.end_s:7.2f} s: person {person.id} shows "
            f"{segment.label} ({segment.score:.0%})"
        )
shown = dict(zip(*reversed(lanes[0].get_legend_handles_labels()), strict=True))
lanes[0].legend(shown.values(), shown.keys(), ncols=4, fontsize=7)
lanes[-1].set_xlabel("time, s")
figure.tight_layout()
figure.savefig(out)
