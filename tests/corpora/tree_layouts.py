"""The official layouts of the six corpora: where clips lie and what split files say."""

from __future__ import annotations

import csv
import io
import re
import shutil

from claip_emo.corpora.mafw import SINGLE
from claip_emo.labels import SEVEN
from tests.corpora.tree_clips import (
    JUNK,
    Planned,
    Tree,
    bad_id,
    damage,
    write_clip,
    write_file,
    write_frames,
    write_sound,
    write_without_sound,
)

FRIENDS = ("Ross", "Monica", "Joey", "Rachel", "Chandler", "Phoebe")
LINES = (
    "Oh my God, he’s lost it. He’s totally lost it.",
    '"Wanted. Female roommate, non-smoker, non-ugly." Nice!',
    "Yeah, we were…we were just looking around.",
    "It’s uh—Wait!  Did you write this?",
)
MELD_FOLDERS = {
    "train": "train_splits",
    "dev": "dev_splits_complete",
    "test": "output_repeated_splits_test",
}


def _dfew(tree: Tree) -> None:
    for clip in tree.clips:
        if tree.form == "original":
            write_clip(tree, clip, tree.root / f"Clip/original/{int(clip.id)}.mp4")
        else:
            sound = tree.root / f"audio_16k/{int(clip.id)}.wav"
            write_frames(tree, clip, tree.root / f"Clip/{tree.form}/{clip.id}", sound)
    for fold in tree.folds:
        for part, clips in _parts(tree, fold).items():
            rows = [
                f"{c.id},{9 if tree.is_('bad_label', c) else SEVEN.index_of(c.label) + 1}\n"
                for c in clips
            ]
            file = tree.root / f"EmoLabel_DataSplit/{part}(single-labeled)/set_{fold}.csv"
            write_file(file, "video_name,label\n" + "".join(rows))


def _mafw(tree: Tree) -> None:
    for clip in tree.clips:
        if tree.form == "clips":
            write_clip(tree, clip, tree.root / f"clips/{clip.id}.mp4")
        else:
            sound = tree.root / f"audio_16k/{clip.id}.wav"
            write_frames(tree, clip, tree.root / f"frames/{clip.id}", sound)
    captions = "一个人在说话。皱眉，嘴角下拉。\tA person talks. The frown and a downward pull."
    for fold in tree.folds:
        for part, clips in _parts(tree, fold).items():
            rows = {
                "single/no_caption": [(c, "") for c in clips if c.label in SINGLE],
                "compound/no_caption": [(c, "") for c in clips],
                "single/with_caption": [
                    (c, f"\t{captions}")
                    for c in clips
                    if c.label in SINGLE and c.label != "neutral"
                ],
            }
            for folder, pairs in rows.items():
                gap = "\t" if folder.endswith("with_caption") else " "
                lines = [
                    f"{c.id}.mp4{gap}{'angry' if tree.is_('bad_label', c) else c.label}{rest}\r\n"
                    for c, rest in pairs
                ]
                file = tree.root / folder / f"set_{fold}/{part}.txt"
                write_file(file, "".join(lines), "gb18030")


def _lists(tree: Tree) -> None:
    corpus = tree.form
    frames, labels = ("clip_jpg_256", SEVEN) if corpus == "dfew" else ("data/frames", SINGLE)
    sounds = "audio_16k" if corpus == "dfew" else "data/audio_16k"
    base = f"data/{corpus.upper()}"
    names = {c.id: f"{int(c.id)}.wav" if corpus == "dfew" else f"{c.id}.wav" for c in tree.clips}
    for clip in tree.clips:
        folder = tree.root / base / frames / clip.id
        write_frames(tree, clip, folder, tree.root / base / sounds / names[clip.id])
    for fold in tree.folds:
        for part, clips in _parts(tree, fold).items():
            rows = [
                f"{base}/{frames}/{c.id} {base}/{sounds}/{names[c.id]} "
                f"{99 if tree.is_('bad_label', c) else labels.index_of(c.label)}\n"
                for c in clips
            ]
            write_file(tree.root / f"{corpus}_split{fold:02d}_{part}.csv", "".join(rows))


def _crema_d(tree: Tree) -> None:
    rows = ['"Stimulus_Number","Filename"\n']
    for clip in tree.clips:
        name = bad_id("crema_d", clip.id) if tree.is_("bad_label", clip) else clip.id
        for _ in range(1 + tree.is_("duplicate", clip)):
            rows.append(f'{len(rows)},"{name}"\n')
        video = tree.root / f"VideoFlash/{name}.flv"
        write_clip(tree, clip, video, keep=True)
        if tree.form != "video" and not tree.is_("silent", clip):
            write_sound(video, tree.root / f"AudioWAV/{name}.wav")
        damage(tree, clip, video)
        if tree.form == "sound":
            damage(tree, clip, tree.root / f"AudioWAV/{name}.wav")
    if tree.form == "sound":
        shutil.rmtree(tree.root / "VideoFlash")
    write_file(tree.root / "SentenceFilenames.csv", "".join(rows))
    actors = dict.fromkeys(clip.id[:4] for clip in tree.clips)
    sexes = [f'{a},{20 + n},"{("Male", "Female")[n % 2]}"\n' for n, a in enumerate(actors)]
    write_file(tree.root / "VideoDemographics.csv", '"ActorID","Age","Sex"\n' + "".join(sexes))


def _ravdess(tree: Tree) -> None:
    """Write files with picture and sound, and the same without sound beside them; or sound."""
    for clip in tree.clips:
        name = bad_id("ravdess", clip.id) if tree.is_("bad_label", clip) else clip.id
        actor = name[-2:]
        folder = {
            "archives": f"Video_Speech_Actor_{actor}/Actor_{actor}",
            "folders": f"Actor_{actor}",
            "sound": f"Audio_Speech_Actors_01-24/Actor_{actor}",
        }[tree.form]
        video = tree.root / folder / f"{name}.mp4"
        write_clip(tree, clip, video, keep=True)
        if tree.form == "sound":
            file = video.with_suffix(".wav")
            write_sound(video, file)
            video.unlink()
        else:
            file = video
            write_without_sound(video, video.with_name(f"02{name[2:]}.mp4"))
        damage(tree, clip, file)
        if tree.is_("duplicate", clip):
            again = tree.root / f"again/Actor_{actor}/{file.name}"
            again.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, again)


def _meld(tree: Tree) -> None:
    """Write clips and tables, with the two that are broken in every copy as they are there."""
    for part, official in MELD_FOLDERS.items():
        folder = tree.root / (f"{part}/{official}" if tree.form == "archives" else official)
        text = io.StringIO(newline="")
        table = csv.writer(text, lineterminator="\n")
        header = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season"
        table.writerow([*header.split(","), "Episode", "StartTime", "EndTime"])
        clips = [clip for clip in tree.clips if clip.id.startswith(f"{part}/")]
        for clip in clips:
            write_clip(tree, clip, folder / f"{clip.id.partition('/')[2]}.mp4")
            said = {"happiness": "joy"}.get(clip.label, clip.label)
            said = "excited" if tree.is_("bad_label", clip) else said
            for _ in range(1 + tree.is_("duplicate", clip)):
                table.writerow(_meld_row(clip.id, FRIENDS[clip.person % 6], said))
        if part == "train":
            write_file(folder / "dia125_utt3.mp4", JUNK)
            table.writerow(_meld_row("train/dia125_utt3", "Ross", "neutral"))
        if part == "dev":
            table.writerow(_meld_row("dev/dia110_utt7", "Phoebe", "neutral"))
        if part == "test":
            write_file(folder / "._dia0_utt0.mp4", JUNK)
        inside = part if tree.form == "archives" and part == "train" else "."
        write_file(tree.root / inside / f"{part}_sent_emo.csv", text.getvalue())


def _meld_row(clip_id: str, speaker: str, said: str) -> list[str | int]:
    dialogue, utterance = map(int, re.findall(r"\d+", clip_id))
    number = 5 * dialogue + utterance
    mood = {"neutral": "neutral", "joy": "positive"}.get(said, "negative")
    times = ["00:20:57,256", "00:21:00,049"]
    line = LINES[number % len(LINES)]
    return [number + 1, line, speaker, said, mood, dialogue, utterance, 4, 7, *times]


def _parts(tree: Tree, fold: int) -> dict[str, list[Planned]]:
    """Return the rows of both parts: a fold tests one take of every class."""
    takes = 1 + max(clip.take for clip in tree.clips)
    rows = [clip for clip in tree.clips for _ in range(1 + tree.is_("duplicate", clip))]
    tested = (fold - 1) % takes
    return {
        "train": [clip for clip in rows if clip.take != tested],
        "test": [clip for clip in rows if clip.take == tested],
    }


WRITERS = {
    "dfew": _dfew,
    "mafw": _mafw,
    "crema_d": _crema_d,
    "ravdess": _ravdess,
    "meld": _meld,
    "lists": _lists,
}
