"""SoundWorld in the paper's own form: films with a list as VGGSound's, pictures named as ImageHear's."""

import csv

import av
import numpy as np
import pytest
from soundworld import make_scene, synthesise
from soundworld.films import CUTS, FRAME_RATE, cut, distractor, film

from v2a_utils.__main__ import main
from v2a_utils.data.sources import open_source
from v2a_utils.stacks.extraction import EmbedOptions, batch_jobs, encode, preparation

COUNT = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten films and five pictures."""
    folder = tmp_path_factory.mktemp("world")
    assert main(["world", "--format", "vggsound", "--out", str(folder), "--count", str(COUNT)]) == 0
    assert main(["world", "--format", "imagehear", "--out", str(folder / "imagehear"), "--count", "5"]) == 0
    return folder


def with_cut(wanted: range):
    """A scene of the training split whose film has this cut."""
    return next(scene for scene in (make_scene("train", index) for index in range(200)) if cut(scene, 4) == wanted)


def test_the_list_is_vggsounds_and_every_row_has_its_film(folder):
    with open(folder / "vggsound.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert {len(row) for row in rows} == {4} and {row[3] for row in rows} == {"train", "test"}
    assert all(len(name) == 11 for name, *_ in rows) and len({name for name, *_ in rows}) == COUNT
    listing = open_source(str(folder / "vggsound.csv"), folder)
    assert listing.name == "films of SoundWorld" and not listing.left_out
    assert [source.id for source in listing.sources] == [
        f"{name}_{int(start) * 1000}_{(int(start) + 10) * 1000}" for name, start, _, _ in rows]
    assert [source.label for source in listing.sources] == [row[2] for row in rows]


def test_the_sound_of_a_film_is_its_scenes(folder):
    source = open_source(str(folder / "vggsound.csv"), folder).sources[0]
    clip = source.decode(1.0, range, 2.56)
    true = synthesise(make_scene("train", 0))
    assert clip.sample_rate == 16_000 and len(clip.frames) == 3
    assert np.corrcoef(clip.waveform[: len(true)], true)[0, 1] > 0.99


def test_the_same_seed_writes_the_same_bytes_and_another_seed_other_films(folder, tmp_path):
    for seed in ("0", "1"):
        assert main(["world", "--format", "vggsound", "--out", str(tmp_path / seed), "--count", "2",
                     "--seed", seed]) == 0
    again, other = (sorted((tmp_path / seed / "video").iterdir()) for seed in ("0", "1"))
    assert all(path.read_bytes() == (folder / "video" / path.name).read_bytes() for path in again)
    assert not {path.name for path in again} & {path.name for path in other}


def test_the_thing_moves_and_a_cut_shows_something_else():
    scene = with_cut(range(3, 6))
    frames = [np.asarray(frame, float) for frame in film(scene, 4)]
    assert len(frames) == 10 and np.array_equal(frames[3], frames[5])
    moved = np.abs(frames[0] - frames[9]).mean(2)
    assert 0.002 < (moved > 20).mean() < 0.6  # the thing, not the whole picture
    assert np.abs(frames[2] - frames[3]).mean() > 2 * np.abs(frames[1] - frames[2]).mean()
    assert not set(distractor(scene).labels) & set(scene.labels)


def test_cuts_come_as_often_as_they_shall():
    cuts = [cut(make_scene("train", index), 4) for index in range(1000)]
    assert {one: round(cuts.count(range(*one)) / len(cuts), 1) for one in ((0, 0), (0, 3), (3, 6), (7, 10))} == {
        tuple(int(4 * end) for end in one): pytest.approx(share, abs=0.06) for one, share in CUTS.items()}


def test_aggregators_differ_on_a_film_with_a_cut(stack, folder):
    """The first frame of a cut film is another thing, so its embedding lies far from the middle one's."""
    sources = open_source(str(folder / "vggsound.csv"), folder).sources
    number = next(n for n in range(COUNT) if cut(make_scene("test" if n % 5 == 4 else "train", n), 4) == range(3))
    found = {}
    for name in ("mean", "first", "middle"):
        job, = batch_jobs(0, [sources[number]])
        found[name] = encode(stack, preparation(stack, EmbedOptions(name))(job), name).rows[0].visual
    first, mean = (found[name] @ found["middle"] for name in ("first", "mean"))
    assert first < 0.9 and first < mean < 0.97


def test_pictures_are_imagehears_by_their_names(folder):
    listing = open_source(str(folder / "imagehear"))
    assert listing.name == "ImageHear" and len(listing.sources) == 5 and not listing.left_out
    assert [source.label for source in listing.sources] == [source.id.rstrip("0123456789") for source in listing.sources]


def test_films_are_mp4_with_h264_and_aac(folder):
    with av.open(str(next((folder / "video").iterdir()))) as container:
        assert [stream.codec_context.name for stream in container.streams] == ["h264", "aac"]
        assert container.streams.video[0].average_rate == FRAME_RATE == 25
        assert sum(1 for _ in container.decode(video=0)) == 64


@pytest.mark.parametrize("arguments, message", [
    (["--format", "vggsound", "--split", "test"], "has splits of its own"), (["--count", "0"], "count is 0"),
])
def test_options_that_do_not_fit_the_format_are_refused(tmp_path, capsys, arguments, message):
    assert main(["world", "--out", str(tmp_path), *arguments]) == 2
    assert message in capsys.readouterr().err
