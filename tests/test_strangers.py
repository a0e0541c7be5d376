"""Files, names, tables and numbers as strangers bring them, by kind: each test makes fifty members of one kind or more."""

import csv
import io
import os
import subprocess
import sys
from contextlib import nullcontext
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import ROOT, halves, offline_environment, sine, unit_rows
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import feather, parquet

from v2a_utils import __main__ as entry
from v2a_utils.data.audio import load_audio, save_audio
from v2a_utils.data.exports import write_imagehear, write_pairs, write_vggsound
from v2a_utils.data.files import free_targets, refuse_existing
from v2a_utils.data.media import kind_of, list_inputs, load_frames, sample_frames, video_seconds
from v2a_utils.data.pairs import read_pairs
from v2a_utils.data.sources import pairs, vggsound
from v2a_utils.options import RANGES, SoundOptions, check

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
@given(form=st.sampled_from(["MPO", "TIFF", "thumbnail", "preview", "APNG", "GIF"]), number=st.integers(1, 3),
       swapped=st.booleans(), suffix=st.sampled_from([".jpg", ".JPG", ".png", ".dat", ".tif", ""]))
def test_of_several_pictures_in_a_file_the_one_that_a_viewer_shows_is_seen(folder, form, number, swapped, suffix):
    path = folder() / f"picture{suffix}"
    shown = halves(*((WHITE, BLACK) if swapped else (BLACK, WHITE)), (64, 48))
    first_of_several(path, form, shown, [Image.new("RGB", (64, 48), RED)] * number)
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


def write_clip(path: Path, late: float, form: str, live: bool, cover: bool, seconds: int = 2) -> None:
    """A film of 10 frames a second, black and in its second half white, whose tone begins `late` seconds after it."""
    codecs = {"webm": ("libvpx", "libopus"), "matroska": ("mpeg4", "aac"), "mp4": ("mpeg4", "aac"),
              "mov": ("mpeg4", "aac")}[form]
    with av.open(Pipe(path) if live else str(path), "w", format=form, options={"live": "1"} if live else {}) as container:
        if cover:
            still = container.add_stream("png", rate=1)
            still.width, still.height, still.pix_fmt = 32, 24, "rgb24"
            still.disposition = av.stream.Disposition.attached_pic
        pictures = container.add_stream(codecs[0], rate=10)
        pictures.width, pictures.height, pictures.pix_fmt = 32, 24, "yuv420p"
        sound = container.add_stream(codecs[1], rate=48_000, layout="mono")
        if cover:
            container.mux(still.encode(av.VideoFrame.from_image(Image.new("RGB", (32, 24), RED))))
        for number in range(10 * seconds):
            colour = BLACK if number < 5 * seconds else WHITE
            container.mux(pictures.encode(av.VideoFrame.from_image(Image.new("RGB", (32, 24), colour))))
        container.mux(pictures.encode(None))
        frame = av.AudioFrame.from_ndarray(sine(440, 48_000, 24_000)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = 48_000, Fraction(1, 48_000), int(late * 48_000)
        resampler = av.AudioResampler(sound.format, sound.layout, sound.rate)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(sound.encode(part))
        container.mux(sound.encode(None))


@FIFTY
@given(late=st.sampled_from([0.0, 0.4, 0.8, 1.2]), form=st.sampled_from(["webm", "matroska", "mp4", "mov"]),
       live=st.booleans(), suffix=st.sampled_from([".webm", ".MKV", ".mp4", ".bin"]))
@example(late=0.8, form="matroska", live=True, suffix=".mkv")
def test_pictures_and_sound_of_a_film_keep_their_times(folder, late, form, live, suffix):
    path = folder() / f"film{suffix}"
    write_clip(path, late, form, live and form in ("webm", "matroska"), False)
    assert kind_of(path) == "video" and video_seconds(path) == pytest.approx(2, abs=0.3)
    bright = [np.asarray(frame).mean() > 128 for frame in sample_frames(path, 5.0, seconds=2)]
    assert bright == sorted(bright) and sum(bright) == pytest.approx(5, abs=1)
    heard = np.abs(load_audio(path, 16_000))
    assert (heard > 0.1).argmax() / 16_000 == pytest.approx(late, abs=0.1)


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


# ------------------------------------------------------------------------------------------------ nothing is replaced

WRITERS = {
    "pairs": lambda out, overwrite: write_pairs(out, "test", 1, overwrite=overwrite),
    "films": lambda out, overwrite: write_vggsound(out, 1, overwrite=overwrite),
    "pictures": lambda out, overwrite: write_imagehear(out, 2, overwrite=overwrite),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, list[str]]:
    """The files that each writer writes, which may be another's before."""
    found = {}
    for name, write in WRITERS.items():
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


@pytest.mark.parametrize("arguments", [
    ["sound", "no such.png"], ["sound", "a.png", "--steps", "0"], ["embed", "nowhere", "--out", "o"],
    ["train", "nowhere", "--mapper", "regression"], ["bridge", "--words", "nowhere", "--out", "o"],
    ["world", "--out", "o", "--count", "-1"], ["embed", "soundworld:test", "--out", "o", "--limit", "0"],
    ["fetch", "--from", "nowhere"], ["sound", "broken.png"], ["generate", "s", "--mapper", "true", "--out", "o",
                                                              "--limit", "1000000000000"],
])
def test_an_error_about_options_and_files_comes_before_any_model_or_torch_is_loaded(tmp_path, arguments):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    halves(BLACK, WHITE).save(tmp_path / "a.png")
    code = ("import sys; from v2a_utils.__main__ import main; status = main(sys.argv[1:]); "
            "assert 'torch' not in sys.modules and 'transformers' not in sys.modules; sys.exit(status)")
    run = subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, env=offline_environment(),
                         capture_output=True, text=True)
    assert run.returncode == 2 and "Traceback" not in run.stderr and "error: " in run.stderr, run.stderr


def test_output_that_nobody_reads_any_more_ends_quietly(tmp_path):
    command = f"{sys.executable} -m v2a_utils world --out {tmp_path}/w --count 1 | true; exit ${{PIPESTATUS[0]}}"
    run = subprocess.run(["bash", "-c", command], cwd=ROOT, env=offline_environment(), capture_output=True, text=True)
    assert "Traceback" not in run.stderr and "error" not in run.stderr.replace("sound", "")


def test_a_home_folder_is_found_where_the_shell_leaves_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert entry.main(["world", "--out=~/pairs", "--count", "1"]) == 0
    assert (tmp_path / "pairs" / "labels.csv").is_file() and not (tmp_path / "~").exists()
