"""Files, names, tables and numbers as strangers bring them, by kind: each test makes fifty members of one kind or more."""

import csv
import io
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from argparse import Namespace
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, nullcontext, redirect_stderr
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from conftest import ROOT, halves, main_frequency, offline_environment, sine, unit_rows
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import feather, parquet
from soundworld.layouts import mp4

from v2a_utils import __main__ as entry
from v2a_utils import commands
from v2a_utils.data.audio import load_audio, save_audio
from v2a_utils.data.files import failure, free_targets, refuse_existing, write_file, write_json, write_table
from v2a_utils.data.media import kind_of, list_inputs, load_frames, put_sound, sample_frames, thumbnails, video_seconds
from v2a_utils.data.pairs import Pairs, read_pairs
from v2a_utils.data.sources import pairs, vggsound
from v2a_utils.data.store import Row, Store
from v2a_utils.evaluation.run import evaluate
from v2a_utils.evaluation.scoring import _labels, recompute, score
from v2a_utils.evaluation.settings import Published, Settings
from v2a_utils.mappers.own import train_on_pairs
from v2a_utils.mappers.recipes import RECIPES
from v2a_utils.mappers.registry import save_mapper
from v2a_utils.models.weights import save_checkpoint, save_weights
from v2a_utils.options import RANGES, SCORES, SUMMARY, TRAINING, SoundOptions, check
from v2a_utils.sound_files import write_sound
from v2a_utils.stacks.stack import Stack

FIFTY = settings(max_examples=50, deadline=timedelta(seconds=60), derandomize=True, database=None,
                 suppress_health_check=list(HealthCheck))
BLACK, WHITE, RED, BLUE = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 0, 255)


@pytest.fixture
def folder(tmp_path_factory):
    """A function that gives a new empty folder for each member of a kind."""
    return lambda: tmp_path_factory.mktemp("member")


# --------------------------------------------------------------------------------------------- one picture of several


def first_of_several(path: Path, form: str, shown: Image.Image, others: list[Image.Image]) -> None:
    """A file that holds `shown` and other pictures which no viewer shows instead of it."""
    if form == "thumbnail":  # in the EXIF data of a JPEG
        exif = Image.Exif()
        exif[0x9C9B] = b"a title"
        shown.save(path, "JPEG", exif=exif, quality=95)
    elif form == "preview":  # a TIFF that begins with a smaller copy of itself
        shown.encoderinfo = {"tiffinfo": {254: 0}}
        others[0].resize((8, 8)).save(path, "TIFF", save_all=True, append_images=[shown], tiffinfo={254: 1})
    elif form == "ICO":
        shown.save(path, "ICO", sizes=[(16, 16), shown.size])
    elif form == "APNG":
        others[0].save(path, "PNG", save_all=True, default_image=True, append_images=[shown])
    else:
        more = {"MPO": {"quality": 95}, "TIFF": {}, "GIF": {}}[form]
        shown.save(path, form, save_all=form != "GIF", append_images=others if form != "GIF" else [], **more)


@FIFTY
@given(form=st.sampled_from(["MPO", "TIFF", "thumbnail", "preview", "APNG", "GIF", "ICO"]), number=st.integers(1, 3),
       swapped=st.booleans(), suffix=st.sampled_from([".jpg", ".JPG", ".png", ".dat", ".tif", ""]), cut=st.booleans())
@example(form="TIFF", number=2, swapped=False, suffix=".tif", cut=True)
@example(form="MPO", number=1, swapped=False, suffix=".jpg", cut=True)
def test_of_several_pictures_in_a_file_the_one_that_a_viewer_shows_is_seen(folder, form, number, swapped, suffix, cut):
    path = folder() / f"picture{suffix}"
    shown = halves(*((WHITE, BLACK) if swapped else (BLACK, WHITE)), (64, 48))
    first_of_several(path, form, shown, [Image.new("RGB", (64, 48), RED)] * number)
    if cut and form in ("MPO", "TIFF"):  # in the last picture
        path.write_bytes(path.read_bytes()[: -200])
    seen = load_frames(path)
    assert len(seen) == 1
    left, right = (seen[0].getpixel((x, 24)) for x in (6, 58))
    assert (max(right) < 60 and min(left) > 190) if swapped else (max(left) < 60 and min(right) > 190)


@FIFTY
@given(suffix=st.sampled_from([".gif", ".webp", ".png"]), number=st.integers(1, 5), cut=st.floats(0.55, 1))
def test_an_animation_is_a_film_as_far_as_it_is_whole(folder, suffix, number, cut):
    path = folder() / f"moving{suffix}"
    frames = [Image.fromarray(np.random.default_rng(i).integers(0, 255, (24, 24, 3)).astype(np.uint8)) for i in range(number)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    if cut < 1 and suffix == ".gif" and number > 1:
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * cut)])
        assert 1 <= len(load_frames(path)) <= number
    else:
        assert len(load_frames(path)) == number


# ---------------------------------------------------------------------------------------- streams with their own clocks


class Pipe:
    """A target that cannot seek, as a browser's recorder writes to: the header never learns how long the film is."""

    def __init__(self, path: Path):
        self.file, self.name = open(path, "wb"), str(path)  # noqa: SIM115

    def write(self, content: bytes) -> int:
        return self.file.write(content)


def write_clip(path: Path, form: str, late: float = 0, gap: float = 0, live: bool = False, others: str = "") -> None:
    """A film of 10 frames a second, black for a second and then white for one, whose tone begins `late` seconds after it.

    In both are `gap` seconds without a packet, in the middle. `others` are streams that come first: a "cover", or a
    red "film" and a high "tone" that no player shows unasked.
    """
    def add(frames: list, stream: av.stream.Stream, breaks: float = 10) -> None:
        for packet in [packet for frame in [*frames, None] for packet in stream.encode(frame)]:
            if packet.pts is not None and packet.pts * packet.time_base >= breaks - 0.01:
                packet.dts += (shift := round(gap / packet.time_base))
                packet.pts += shift
            container.mux(packet)

    def tone(frequency: int, stream: av.AudioStream) -> list[av.AudioFrame]:
        frame = av.AudioFrame.from_ndarray(sine(frequency, 48_000, 48_000)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = 48_000, Fraction(1, 48_000), int(late * 48_000)
        resampler = av.AudioResampler(stream.format, stream.layout, stream.rate)
        return [*resampler.resample(frame), *resampler.resample(None)]

    codecs = {"webm": ("libvpx", "libopus"), "matroska": ("mpeg4", "aac"), "mp4": ("mpeg4", "aac"),
              "mov": ("mpeg4", "aac")}[form]
    with av.open(Pipe(path) if live else str(path), "w", format=form, options={"live": "1"} if live else {}) as container:
        def pictures(codec: str, kind: str) -> av.VideoStream:
            stream = container.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 32, 24, "rgb24" if codec == "png" else "yuv420p"
            stream.disposition = getattr(av.stream.Disposition, kind)
            return stream

        def sound(kind: str) -> av.AudioStream:
            stream = container.add_stream(codecs[1], rate=48_000, layout="mono")
            stream.disposition = getattr(av.stream.Disposition, kind)
            return stream

        red = av.VideoFrame.from_image(Image.new("RGB", (32, 24), RED))
        before = {"cover": lambda: [pictures("png", "attached_pic")], "": list,
                  "others": lambda: [pictures(codecs[0], "dub"), sound("comment")]}[others]()
        film, voice = pictures(codecs[0], "default"), sound("default")
        for stream in before:
            add([red] if stream.type == "video" else tone(2000, stream), stream)
        frames = [av.VideoFrame.from_image(Image.new("RGB", (32, 24), colour)) for colour in [BLACK] * 10 + [WHITE] * 10]
        add(frames, film, breaks=1)
        add(tone(440, voice), voice, breaks=late + 0.5)


@FIFTY
@given(late=st.sampled_from([0.0, 0.4, 0.8]), form=st.sampled_from(["webm", "matroska", "mp4", "mov"]),
       gap=st.sampled_from([0.0, 0.5, 1.3]), live=st.booleans(), others=st.sampled_from(["", "cover", "others"]),
       suffix=st.sampled_from([".webm", ".MKV", ".mp4", ".bin"]))
@example(late=0.8, form="matroska", gap=0.0, live=True, others="", suffix=".mkv")
@example(late=0.0, form="mp4", gap=0.5, live=False, others="cover", suffix=".mp4")
def test_pictures_and_sound_of_a_film_keep_their_times(folder, late, form, gap, live, others, suffix):
    path, of_matroska = folder() / f"film{suffix}", form in ("webm", "matroska")
    write_clip(path, form, late, gap, live and of_matroska, others if not (of_matroska and others == "cover") else "")
    assert kind_of(path) == "video" and video_seconds(path) == pytest.approx(2 + gap, abs=0.5)
    bright = [np.asarray(frame)[..., 1].mean() > 128 for frame in sample_frames(path, 5.0, seconds=2 + gap)]
    assert bright == sorted(bright) and sum(bright) == pytest.approx(5, abs=1)
    assert np.mean(thumbnails(path, 0, 0.5, 5.0)[0]) < 40  # black, and not red
    heard = load_audio(path, 16_000)
    loud, pieces = np.abs(heard) > 0.1, (heard[round(begin * 16_000) :][:4800] for begin in (late + 0.15, late + gap + 0.6))
    assert loud.argmax() / 16_000 == pytest.approx(late, abs=0.1)
    assert all(main_frequency(piece, 16_000) == pytest.approx(440, abs=20) for piece in pieces)
    assert not loud[round((late + 0.6) * 16_000) : round((late + 0.4 + gap) * 16_000)].any()


@FIFTY
@given(form=st.sampled_from([("aac", "adts"), ("aac", "mpegts"), ("ac3", "ac3")]),
       channels=st.lists(st.sampled_from(["mono", "stereo", "quad"]), min_size=1, max_size=4))
@example(form=("aac", "mpegts"), channels=["mono", "stereo"])
def test_a_sound_whose_channels_change_midway_as_broadcasts_do_is_heard_to_its_end(folder, form, channels):
    path = folder() / "broadcast"
    with path.open("wb") as file:
        for number, layout in enumerate(channels):
            part, wave = io.BytesIO(), sine(400 * (number + 1), 48_000, 24_000)
            with av.open(part, "w", format=form[1]) as container:
                stream = container.add_stream(form[0], rate=48_000, layout=layout)
                frame = av.AudioFrame.from_ndarray(np.stack([wave] * stream.layout.nb_channels), "fltp", layout)
                frame.sample_rate = 48_000
                resampler = av.AudioResampler(stream.format, layout, 48_000)
                for each in (*resampler.resample(frame), *resampler.resample(None), None):
                    container.mux(stream.encode(each))
            file.write(part.getvalue())
    heard = load_audio(path, 16_000)
    assert len(heard) / 16_000 == pytest.approx(0.5 * len(channels), abs=0.1 * len(channels))
    for number in range(len(channels)):
        begin = round((number + 0.2) * len(heard) / len(channels))
        assert main_frequency(heard[begin:][:3200], 16_000) == pytest.approx(400 * (number + 1), abs=20)


# ------------------------------------------------------------------------------------------------------------- names

NAMES = st.one_of(
    st.text(st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=40),
    st.binary(min_size=1, max_size=30).filter(lambda name: not {0, 47} & set(name)).map(os.fsdecode),
    st.sampled_from(["-", "--out", "-rf", "~", "~root", "a:b", "http:", "pipe:0", "%d", "name\nof lines", "x" * 245,
                     "é" * 120, "con", " ", "$HOME", "*", "?", "#1", "a\tb"]),
).filter(lambda name: name.strip(".") and name[0] != "." and len(os.fsencode(name)) < 246)


@FIFTY
@given(name=NAMES, suffix=st.sampled_from([".png", ".PNG", ".jpg", ".mp4", ".dat"]), link=st.booleans())
def test_whatever_a_picture_is_called_it_is_read_by_its_content_and_gets_a_target(folder, name, suffix, link):
    place, real = folder(), folder() / "real"
    path = place / f"{name}{suffix}"
    halves(BLACK, WHITE).save(real, "PNG")
    path.symlink_to(real) if link else path.write_bytes(real.read_bytes())
    assert kind_of(path) == "picture" and list_inputs([place]) == ([path], [])
    assert load_frames(path)[0].getpixel((35, 12)) == WHITE
    targets, refused = free_targets([path, folder() / path.name], place / "out", "wav", False)
    assert not refused and len(set(targets.values())) == 2
    for target in targets.values():
        save_audio(target, sine(440), 16_000)
    assert all(len(load_audio(target, 16_000)) for target in targets.values())


@FIFTY
@given(name=NAMES, label=NAMES, linked=st.booleans())
def test_pairs_are_found_whatever_they_are_called(folder, name, label, linked):
    place, elsewhere = folder(), folder()
    inside = elsewhere if linked else place / label
    inside.mkdir(exist_ok=True)
    if linked:
        (place / label).symlink_to(inside)
        (inside / "back").symlink_to(place)  # a circle
    halves(BLACK, WHITE).save(inside / f"{name}.png")
    save_audio(inside / f"{name}.wav", sine(440), 16_000)
    source, = pairs(place).sources
    source.id.encode()
    assert len(source.decode(1.0, range, 1.0).frames) == 1


SPREAD = [  # VGGSound's videos as they are spread
    lambda name, start: f"{name}_{start * 1000}_{start * 1000 + 10_000}", lambda name, start: f"{name}_{start:06d}",
    lambda name, start: f"{name}_{start}_{start + 10}", lambda name, start: f"{name}_{start}",
    lambda name, start: f"{name}-{start}-{start + 10}", lambda name, start: f"{name}_{start}.0_{start + 10}.0",
    lambda name, start: f"{name}_{start:06d}_{start + 10:06d}", lambda name, start: name,
]
IDS = st.text("abcXYZ019-_", min_size=11, max_size=11)


@FIFTY
@given(clips=st.dictionaries(IDS, st.integers(0, 600), min_size=1, max_size=4), spread=st.sampled_from(SPREAD),
       suffix=st.sampled_from([".mp4", ".MP4", ".mkv", ".webm", ".avi"]), below=st.sampled_from(["", "video", "test/dog"]),
       mark=st.sampled_from([",", ";", "\t"]), begins=st.sampled_from(["", "\ufeff"]), head=st.booleans())
def test_vggsounds_videos_are_found_as_they_are_spread(folder, clips, spread, suffix, below, mark, begins, head):
    place = folder()
    (place / below).mkdir(parents=True, exist_ok=True)
    for name, start in clips.items():
        (place / below / f"{spread(name, start)}{suffix}").touch()
    text = io.StringIO()
    writer = csv.writer(text, delimiter=mark, lineterminator="\r\n")
    writer.writerows([["id", "start", "label", "split"]] * head)
    writer.writerows([[name, f" {start}", "dog; cat, and more", "test"] for name, start in clips.items()])
    (place / "list.csv").write_text(begins + text.getvalue(), newline="")
    found = vggsound(place / "list.csv", place)
    assert {(source.id.rsplit("_", 2)[0], int(source.id.rsplit("_", 2)[1]) // 1000) for source in found.sources} == set(
        clips.items()), found.left_out


# ------------------------------------------------------------------------------------------------------------ tables

LISTS = {
    "list": lambda rows, kind: pa.array(rows.tolist(), pa.list_(kind)),
    "large": lambda rows, kind: pa.array(rows.tolist(), pa.large_list(kind)),
    "fixed": lambda rows, kind: pa.array(rows.tolist(), pa.list_(kind, rows.shape[1])),
    "view": lambda rows, kind: pa.array(rows.tolist(), pa.list_view(kind)),
    "frames": lambda rows, kind: pa.array([[row, row] for row in rows.tolist()], pa.list_(pa.list_(kind))),
    "large frames": lambda rows, kind: pa.array([[row] for row in rows.tolist()], pa.large_list(pa.list_(kind, 6))),
}


@FIFTY
@given(form=st.sampled_from(sorted(LISTS)), kind=st.sampled_from([pa.float32(), pa.float64()]),
       ids=st.sampled_from(["texts", "numbers", "missing", "none"]), splits=st.sampled_from(
           [("train", "val"), ("train", "validation"), (" Train", "VAL "), ("training", "dev"), (None, None)]),
       chunk=st.integers(5, 50), writer=st.sampled_from(["file", "folder", "hive", "feather", "pandas"]))
def test_tables_that_other_programs_write_are_read(folder, form, kind, ids, splits, chunk, writer):
    place, rows = folder(), unit_rows(40, 6)
    vectors = LISTS[form](rows, kind)
    table = pa.table({"visual": vectors, "audio": LISTS[form](unit_rows(40, 6, 1), kind)})
    names = {"texts": [f"c{n}" for n in range(40)], "numbers": list(range(40)), "missing": [None, *range(1, 40)]}
    if ids in names:
        table = table.append_column("id", pa.array(names[ids]))
    given_splits = [splits[0]] * 32 + [splits[1]] * 8
    if writer != "hive" and splits[0]:
        table = table.append_column("split", pa.array(given_splits))
    if writer == "file":
        parquet.write_table(table, place / "t.parquet", row_group_size=chunk)
    elif writer == "feather":
        feather.write_feather(table.combine_chunks(), place / "t.feather")
    elif writer == "pandas" and form != "view":
        pd.DataFrame({name: table[name].to_pylist() for name in table.column_names}).to_parquet(place / "t.parquet")
    else:  # as Spark and datasets do
        for number, start in enumerate(range(0, 40, 8)):
            part = "train" if start < 32 else "val"
            inside = place / (f"split={part}" if writer == "hive" else "")
            inside.mkdir(exist_ok=True)
            parquet.write_table(table.slice(start, 8), inside / f"part-{number:05d}-1f-c000.snappy.parquet")
        (place / "_SUCCESS").touch()
    found = read_pairs(next(place.glob("t.*"), place))
    assert found.train[0].shape[1] == 6 and len(found.train[0]) + len(found.val[0]) >= 30
    if splits[0] or writer == "hive":
        assert np.allclose(found.train[0], rows[:32], atol=1e-6) and np.allclose(found.val[0], rows[32:], atol=1e-6)


@FIFTY
@given(row=st.integers(0, 31), side=st.sampled_from(["visual", "audio"]),
       wrong=st.sampled_from(["short", "long", "empty", "null", "nan", "zero"]))
def test_a_row_that_is_no_embedding_is_named(folder, row, side, wrong):
    rows = unit_rows(40, 6).tolist()
    rows[row] = {"short": rows[row][:-1], "long": [*rows[row], 0.0], "empty": [], "null": None,
                 "nan": [float("nan")] * 6, "zero": [0.0] * 6}[wrong]
    columns = {"visual": unit_rows(40, 6).tolist(), "audio": unit_rows(40, 6).tolist()} | {side: rows}
    path = folder() / "t.parquet"
    parquet.write_table(pa.table(columns | {"split": ["train"] * 32 + ["val"] * 8}), path)
    with pytest.raises(ValueError, match=rf"t\.parquet: .*{side}") as caught:
        read_pairs(path)
    assert "\n" not in str(caught.value) and (row == 0 or f"row {row}" in str(caught.value))


@FIFTY
@given(mark=st.sampled_from([",", ";", "\t"]), encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
       end=st.sampled_from(["\n", "\r\n"]), quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
       columns=st.permutations(["id", "label", "more"]), spaces=st.booleans(), empty=st.booleans(),
       label=st.sampled_from(["dog", "dog, barking", 'a "dog"', "Hündin; laut", "dog+cat"]))
def test_labels_are_read_as_spreadsheets_write_them(folder, mark, encoding, end, quoting, columns, spaces, empty, label):
    path, text, names = folder() / "labels.csv", io.StringIO(), ["a", "b c", "ü/é"]
    writer = csv.writer(text, delimiter=mark, lineterminator=end, quoting=quoting)
    writer.writerow(columns)
    for name in names:
        row = {"id": name, "label": label, "more": "1"}
        writer.writerow([f"{row[column]} " if spaces else row[column] for column in columns])
    writer.writerows([["", "", ""]] * empty)
    path.write_text(text.getvalue(), encoding=encoding, newline="")
    assert _labels(path, names) == dict.fromkeys(names, label)


# ------------------------------------------------------------------------------------------------ nothing is replaced


def write_world(out, form: str, count: int, overwrite: bool) -> int:
    return commands.world(Namespace(out=out, format=form, split=None, count=count, seed=0, overwrite=overwrite))


WORLD = {
    "pairs": lambda out, overwrite: write_world(out, "pairs", 1, overwrite),
    "films": lambda out, overwrite: write_world(out, "vggsound", 1, overwrite),
    "pictures": lambda out, overwrite: write_world(out, "imagehear", 2, overwrite),
}
NO_STACK = cast(Stack, None)  # whoever refuses does so before it looks at anything else
WRITERS = WORLD | {
    "mapper": lambda out, overwrite: save_mapper(torch.nn.Linear(1, 1), out, overwrite=overwrite),
    "training": lambda out, overwrite: train_on_pairs(cast(Pairs, None), RECIPES["mini"]["regression"], out,
                                                      overwrite=overwrite),
    "evaluation": lambda out, overwrite: evaluate(Settings("soundworld", out=str(out)), NO_STACK, overwrite),
    "scores": lambda out, overwrite: score(NO_STACK, out, out, out=out, clips=out / "each.csv", overwrite=overwrite),
    "published": lambda out, overwrite: recompute(Published("sounds", out=str(out)), NO_STACK, overwrite),
}
WRITTEN = {"mapper": ["config.json", "model.safetensors"], "training": list(TRAINING), "evaluation": list(SUMMARY),
           "scores": [*SCORES, "each.csv"], "published": ["published.csv", "vggsound/scores.csv"]}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, list[str]]:
    """The files that each writer writes, which may be another's before."""
    found = dict(WRITTEN)
    for name, write in WORLD.items():
        out = tmp_path_factory.mktemp(name)
        write(out, False)
        found[name] = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    return found


@FIFTY
@given(name=st.sampled_from(sorted(WRITERS)), which=st.integers(0, 50), content=st.binary(max_size=20))
def test_a_file_of_the_users_is_never_replaced_unasked(folder, written, name, which, content):
    out = folder()
    own = out / written[name][which % len(written[name])]
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_bytes(content)
    with pytest.raises(FileExistsError, match="--overwrite") if own.suffix != ".mp4" else nullcontext():
        WRITERS[name](out, False)
    assert own.read_bytes() == content


@FIFTY
@given(there=st.sets(st.integers(0, 9), max_size=10), overwrite=st.booleans(), link=st.booleans())
def test_the_guard_of_all_writers_names_what_is_there(folder, there, overwrite, link):
    out = folder()
    for number in there:
        (out / str(number)).symlink_to("nowhere") if link else (out / str(number)).touch()
    with pytest.raises(FileExistsError) if there and not overwrite else nullcontext():
        refuse_existing([out / str(number) for number in range(10)], overwrite)


# ------------------------------------------------------------------------------------------------- what cannot be written


def full_from(size: int) -> ExitStack:
    """A disk that takes no more than so many bytes of a file."""
    before, there = resource.getrlimit(resource.RLIMIT_FSIZE), ExitStack()
    there.callback(resource.setrlimit, resource.RLIMIT_FSIZE, before)
    # the signal that goes with it ends the process where a library has taken back that Python ignores it
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    return there


def read_only(place: Path) -> ExitStack:
    """A folder that may be read only, also by root."""
    there, mode = ExitStack(), place.stat().st_mode
    place.chmod(0o555)
    there.callback(place.chmod, mode)
    if os.geteuid() == 0:
        os.seteuid(65534)
        there.callback(os.seteuid, 0)
    return there


def savers(film: Path) -> dict:
    """What writes a file of this path, or into a folder of it."""
    rows = [Row(str(number), None, "train", None, *unit_rows(2, 64, number)) for number in range(20)]
    return {"sound": lambda path: save_audio(path.with_suffix(".wav"), sine(440), 16_000),
            "lossless sound": lambda path: write_sound(path.with_suffix(".flac"), sine(440), 16_000),
            "list": lambda path: write_json(path, list(range(2000))),
            "table": lambda path: write_table(pd.DataFrame({"a": range(2000)}), path),
            "weights": lambda path: save_weights(torch.nn.Linear(40, 40), path),
            "checkpoint": lambda path: save_checkpoint(path, {"a": torch.zeros(2000)}),
            "film with a sound": lambda path: put_sound(film, path.with_suffix(".mp4"), sine(440), 16_000),
            "store": lambda path: Store(path).write(0, ["a"], rows, [], {"visual": 64, "audio": 64}, {"aggregate": "mean"}),
            "pairs": lambda path: write_world(path, "pairs", 1, True),
            "pictures": lambda path: write_world(path, "imagehear", 1, True),
            "film": lambda path: write_file(path.with_suffix(".mp4"), mp4([halves(BLACK, WHITE)] * 9, 10, sine(440), 16_000))}


def write_all_once(place: Path) -> None:
    """So that every library is loaded before a disk is full."""
    write_clip(place / "film.mp4", "mp4")
    for number, save in enumerate(savers(place / "film.mp4").values()):
        save(place / str(number))


def what_saving_says(film: Path, name: str, how: str, place: Path, target: Path) -> str | None:
    limits = {"full": lambda: full_from(300), "full at once": lambda: full_from(0), "read only": lambda: read_only(place)}
    try:
        with redirect_stderr(io.StringIO()), limits.get(how, nullcontext)():
            savers(film)[name](target)
    except (OSError, ValueError) as error:
        return failure(error)
    return None


@pytest.fixture(scope="module")
def another_process(tmp_path_factory):
    """A full disk is one process's own: beside the tests run threads, such as Ray's, that do not survive one."""
    place = tmp_path_factory.mktemp("film")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        process.submit(write_all_once, place).result()
        yield lambda *values: process.submit(what_saving_says, place / "film.mp4", *values).result()


@settings(FIFTY, max_examples=80)
@given(name=st.sampled_from(["sound", "lossless sound", "list", "table", "weights", "checkpoint", "film with a sound",
                             "store", "pairs", "pictures", "film"]),
       how=st.sampled_from(["full", "full at once", "read only", "a file in the folder's place", "a name too long"]),
       there=st.booleans())
def test_what_cannot_be_written_is_said_in_a_sentence_and_leaves_nothing_half(folder, another_process, name, how, there):
    member = folder()  # what lies beside it is other tests', and gigabytes
    place = member / "place"
    place.mkdir()
    if there and how != "a file in the folder's place":
        for ending in ("", ".wav", ".flac", ".mp4"):
            if ending or name in ("list", "table", "weights", "checkpoint"):
                (place / f"result{ending}").write_bytes(b"mine")
    if how == "a file in the folder's place":
        place = place / "file"
        place.write_bytes(b"mine")
    before = {path: path.read_bytes() for path in member.rglob("*") if path.is_file()}
    target = place / ("x" * 300 if how == "a name too long" else "result")
    said = another_process(name, how, place, target)
    assert said and "\n" not in said and str(place) in said, said
    assert {path: path.read_bytes() for path in member.rglob("*") if path.is_file()} == before


@FIFTY
@given(name=NAMES, encoding=st.sampled_from(["utf-8", "ascii", "latin-1", "cp1252"]), broken=st.booleans())
def test_a_path_that_cannot_be_printed_is_told_all_the_same(folder, name, encoding, broken):
    path, said = folder() / f"{name}.png", io.BytesIO()
    if broken:
        path.write_bytes(b"no picture")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", io.TextIOWrapper(said, encoding))
        assert entry.main(["sound", str(path)]) == 2
        sys.stderr.flush()
        assert b"error: " in said.getvalue() and b"Traceback" not in said.getvalue()
        sys.stderr.detach()


# ---------------------------------------------------------------------------------------------- one bad file, and numbers


@FIFTY
@given(bad=st.sets(st.integers(0, 5), max_size=5), how=st.sampled_from(["empty", "cut", "noise", "gone", "secret", "silent"]))
def test_one_bad_clip_costs_itself(folder, bad, how):
    place = folder()
    for number in range(6):
        halves(BLACK, WHITE).save(place / f"{number}.png")
        save_audio(place / f"{number}.wav", sine(440), 16_000)
    sources = pairs(place).sources
    for number in bad:
        path = place / f"{number}.png"
        if how == "gone":
            path.unlink()
        elif how == "secret":
            path.unlink()
            path.mkdir()
        elif how == "silent":
            save_audio(place / f"{number}.wav", np.zeros(16_000, np.float32), 16_000)
        else:
            path.write_bytes({"empty": b"", "cut": path.read_bytes()[:40], "noise": b"\x00\xff" * 99}[how])
    failed = set()
    for source in sources:
        try:
            source.decode(1.0, range, 1.0)
        except ValueError as error:
            assert "\n" not in str(error) and str(place) in str(error)
            failed.add(int(source.id))
    assert failed == bad


OUTSIDE = st.one_of(st.sampled_from([float("nan"), float("inf"), float("-inf"), -1, 0, 10**12, -10**12]),
                    st.floats(max_value=-0.001), st.integers(max_value=-1), st.integers(min_value=10**10))


@settings(FIFTY, max_examples=100)
@given(name=st.sampled_from([name for name in RANGES if isinstance(name, str)]), value=OUTSIDE)
def test_every_number_has_a_range_that_is_said(name, value):
    low, high = RANGES[name]
    if low <= value <= high:
        check(name, value)
        return
    with pytest.raises(ValueError, match=f"{name.replace('_', ' ')} is .*: give "):
        check(name, value)
    if name in SoundOptions.__dataclass_fields__:
        with pytest.raises(ValueError, match="give"):
            SoundOptions(**{name: value})


def test_every_number_of_every_command_has_a_range():
    for command in next(iter(entry._parser()._subparsers._group_actions)).choices.values():
        for action in command._actions:
            assert action.type not in (int, float) or action.dest in RANGES or action.dest == "splits", action


WRONG = [arguments.split() for arguments in (
    "sound nowhere.png", "sound a.png --steps 0", "sound broken.png", "sound a.png --mapper nowhere", "sound a.png --sync",
    "sound a.png --mapper regression --words words.txt", "sound a.png --out done", "sound --video a.png", "sound empty",
    "embed nowhere --out o", "embed empty --out o", "embed list.csv --out o", "embed soundworld:test --out o --limit 0",
    "embed soundworld:test --out o --frame-rate nan", "embed empty --out o --splits 50 50 50", "embed soundworld:test --limit 1 --out done",
    "train nowhere --mapper regression", "train broken.parquet --mapper regression", "train t.parquet --mapper flow "
    "--out done", "bridge --words nowhere --out o", "bridge --out done", "world --out o --count -1", "world --out done "
    "--count 1", "world --format vggsound --split test --out o", "fetch --from nowhere", "fetch --from empty", "fetch --from "
    "a.png", "fetch", "evaluate --data empty", "evaluate --data list.csv", "reproduce empty.toml", "reproduce sounds.toml",
    "generate nowhere --mapper true --out o", "generate s --mapper true --out o --limit 1000000000000", "generate empty "
    "--mapper true --out o", "generate s --mapper nowhere --out o", "score nowhere --reference empty",
    "score empty --reference nowhere", "score empty --reference empty --out done", "score empty --reference empty "
    "--seconds 0", "score empty --reference empty --ids nowhere", "evaluate --out done", "evaluate --n 1", "evaluate "
    "--methods magic", "evaluate --data nowhere", "evaluate --data t.toml", "evaluate --clips "
    "empty", "reproduce nowhere", "reproduce t.toml", "reproduce done.toml", "reproduce world.toml --engine ray --out done")]
MANY = """
import contextlib, io, json, sys
from v2a_utils.__main__ import main
found = []
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(io.StringIO()) as said:
        status = main(arguments)
    found.append([status, said.getvalue(), bool({"torch", "transformers"} & sys.modules.keys())])
    if found[-1][-1]:
        break
print(json.dumps(found))
"""


def test_an_error_about_options_and_files_comes_before_any_model_or_torch_is_loaded(tmp_path):
    for name in ("broken.png", "broken.parquet"):
        (tmp_path / name).write_bytes(b"no picture, and no table")
    for name in ("empty", "done"):
        (tmp_path / name).mkdir()
    for name in ("a.wav", "config.json", "model.safetensors", "labels.csv", "evaluation.csv", "scores.csv", "part-000000.parquet"):
        (tmp_path / "done" / name).touch()
    halves(BLACK, WHITE).save(tmp_path / "a.png")
    for name, text in (("t", "magic = 1"), ("world", "videos = 'soundworld'"), ("done", "videos = 'x'\nout = 'done'"),
                       ("empty", "videos = 'empty'"), ("sounds", "sounds = 'nowhere'")):
        (tmp_path / f"{name}.toml").write_text(text)
    for name in ("words.txt", "list.csv"):
        (tmp_path / name).write_text("a dog\n")
    vectors = pa.array(unit_rows(40, 6).tolist(), pa.list_(pa.float32()))
    parquet.write_table(pa.table({"visual": vectors, "audio": vectors}), tmp_path / "t.parquet")
    run = subprocess.run([sys.executable, "-c", MANY, json.dumps(WRONG)], cwd=tmp_path, env=offline_environment(),
                         capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    for arguments, (status, said, slow) in zip(WRONG, json.loads(run.stdout.splitlines()[-1]), strict=False):
        assert status == 2 and said.startswith("error: ") and not slow, (arguments, said)
        assert said.count("error: ") == said.count("\n"), (arguments, said)


def test_output_that_nobody_reads_any_more_ends_quietly(tmp_path):
    command = f"{sys.executable} -m v2a_utils world --out {tmp_path}/w --count 1 | true; exit ${{PIPESTATUS[0]}}"
    run = subprocess.run(["bash", "-c", command], cwd=ROOT, env=offline_environment(), capture_output=True, text=True)
    assert "Traceback" not in run.stderr and "error" not in run.stderr.replace("sound", "")


def test_a_home_folder_is_found_where_the_shell_leaves_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert entry.main(["world", "--out=~/pairs", "--count", "1"]) == 0
    assert (tmp_path / "pairs" / "labels.csv").is_file() and not (tmp_path / "~").exists()
