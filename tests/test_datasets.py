"""Data sets behind one interface: what is listed, what is left out and why, and what becomes of odd files."""

import os
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from conftest import PHOTOS, REAL, VIDEOS, assert_one_sentence, halves, main_frequency, needs_photos, sine, write_video
from PIL import Image
from scipy.signal import fftconvolve
from soundworld import draw, make_scene, synthesise

from v2a_utils.data.audio import HEARING_RATE, load_audio
from v2a_utils.data.media import sample_frames
from v2a_utils.data.sources import (
    NAMES_IN_WORDS,
    FileSource,
    imagehear,
    open_source,
    pairs,
    reopen,
    soundworld,
    vggsound,
)

RED, BLUE = (255, 0, 0), (0, 0, 255)
LONG = "ü" * 120  # 240 bytes, close to the limit of most file systems


def write_pair(folder: Path, name: str, suffix: str = ".wav") -> None:
    """A picture and a sound of one second with the same base name."""
    folder.mkdir(parents=True, exist_ok=True)
    halves(RED, BLUE).save(folder / f"{name}.png")
    soundfile.write(folder / f"{name}{suffix}", sine(440, 16_000, 16_000), 16_000)


def left_out(listing) -> dict[str, str]:
    return dict(listing.left_out)


def decode(source, seconds: float = 1.0, rate: float = 1.0, choose=range):
    return source.decode(rate, choose, seconds)


# ---------------------------------------------------------------------------------------------------------- listings


def test_soundworld_lists_scenes_and_decodes_their_picture_and_sound():
    listing = soundworld("test", 3, seed=4)
    scene, source = make_scene("test", 2, 4), listing.sources[2]
    assert (source.id, source.label, source.split) == (scene.id, scene.label, "test") and source.caption
    clip = decode(source)
    assert clip.frames[0].tobytes() == draw(scene).tobytes()
    assert np.array_equal(clip.waveform, synthesise(scene))


GONE = f"no video of it in the folder or below under the usual names ({NAMES_IN_WORDS})"


def test_vggsound_matches_its_list_with_the_videos_and_says_what_is_missing(tmp_path):
    (tmp_path / "video").mkdir()
    (tmp_path / "wav").mkdir()
    for name in ("-a_b-cdefgh_5000_15000", "kkkkkkkkkkk_0_10000", "unlistedxxx_1000_11000"):
        write_video(tmp_path / "video" / f"{name}.mp4", [100] * 5, sound=True)
    soundfile.write(tmp_path / "wav" / "-a_b-cdefgh_5000_15000.wav", sine(880, 16_000, 8_000), 16_000)
    (tmp_path / "vggsound.csv").write_text(
        '-a_b-cdefgh,5,"race car, auto racing",train\nkkkkkkkkkkk,0,dog barking,test\nkkkkkkkkkkk,0,dog barking,test\n'
        "gonegonegon,7,cat purring,test\n")
    listing = vggsound(tmp_path / "vggsound.csv", tmp_path)
    first, second = listing.sources
    assert (first.id, first.label, first.split) == ("-a_b-cdefgh_5000_15000", "race car, auto racing", "train")
    assert first.sound.endswith(".wav") and second.sound == second.visual
    assert main_frequency(decode(first).waveform, HEARING_RATE) == pytest.approx(880, abs=3)
    assert main_frequency(decode(second).waveform, HEARING_RATE) == pytest.approx(440, abs=3)
    assert left_out(listing) == {
        "kkkkkkkkkkk_0_10000": "listed twice", "gonegonegon_7000_17000": GONE,
        "unlistedxxx_1000_11000": "not in the list",
    }
    assert "VGGSound: 2 clips (train 1, test 1, 2 classes)" in listing.summary()
    assert f"left out 1: {GONE} (gonegonegon_7000_17000)" in listing.summary()


@pytest.mark.parametrize("text", ["a,b,c\n", "abc,1,dog\n", "abc,one,dog,test\n"])
def test_a_list_that_is_not_vggsounds_is_named_with_its_row(tmp_path, text):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ValueError, match="row 1") as caught:
        open_source(str(tmp_path / "list.csv"), tmp_path)
    assert_one_sentence(str(caught.value), tmp_path / "list.csv")


def test_imagehear_is_known_by_its_names_and_has_no_sounds(tmp_path):
    for name in ("dog1.jpg", "dog12.jpg", "guitar3.jpg"):
        halves(RED, BLUE).save(tmp_path / name)
    listing = open_source(str(tmp_path))
    assert listing.name == "ImageHear" and not listing.has_sounds
    assert [source.label for source in listing.sources] == ["dog", "dog", "guitar"]
    assert decode(listing.sources[0]).waveform is None
    (tmp_path / "notes.txt").touch()
    assert left_out(imagehear(tmp_path)) == {"notes.txt": "not named <class><n>.jpg"}


def test_pairs_are_found_in_a_folder_and_its_subfolders(tmp_path):
    write_pair(tmp_path, "top")
    write_pair(tmp_path / "dogs", "a.b", ".flac")
    write_pair(tmp_path / "dogs", "both")
    halves(RED, BLUE).save(tmp_path / "dogs" / "both.jpg")
    (tmp_path / "cats").mkdir()
    write_video(tmp_path / "cats" / "film.mp4", [50] * 3, sound=True)
    halves(RED, BLUE).save(tmp_path / "silent.png")
    soundfile.write(tmp_path / "unseen.wav", sine(440), 16_000)
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".hidden.png").touch()
    listing = pairs(tmp_path)
    assert [(source.id, source.label) for source in listing.sources] == [
        ("cats/film", "cats"), ("dogs/a.b", "dogs"), ("top", None)]
    assert left_out(listing) == {
        "dogs/both": "several files that could be its picture or sound",
        "notes.txt": "neither a picture, a video nor a sound",
        "silent": "a picture without a sound of its name",
        "unseen": "a sound without a picture or video of its name",
    }


@pytest.mark.parametrize("name", ["Füße 音 🐕", LONG, "e\u0301 in two code points", "quo'te \"and\" comma,"])
def test_unicode_and_long_names_become_ids(tmp_path, name):
    write_pair(tmp_path, name)
    source, = pairs(tmp_path).sources
    assert decode(source).frames and source.id.encode() and "e\u0301" not in source.id


def test_a_name_that_is_no_unicode_becomes_escapes(tmp_path):
    for suffix in (".png", ".wav"):
        try:
            open(os.fsencode(tmp_path) + b"/\xff\xfe" + suffix.encode(), "wb").close()
        except OSError:
            pytest.skip("this file system refuses such names")
    source, = pairs(tmp_path).sources
    assert source.id == "\\udcff\\udcfe"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_named(tmp_path):
    write_pair(tmp_path, "a")
    write_pair(tmp_path / "closed", "b")
    (tmp_path / "a.wav").chmod(0)
    (tmp_path / "closed").chmod(0)
    listing = pairs(tmp_path)
    (tmp_path / "closed").chmod(0o755)
    assert left_out(listing) == {"closed": "a folder that may not be opened"}
    with pytest.raises(ValueError) as caught:
        decode(listing.sources[0])
    assert_one_sentence(str(caught.value), tmp_path / "a.wav")


@pytest.mark.parametrize("source, message", [
    ("nowhere", "neither a folder"), ("soundworld:moon", "unknown SoundWorld split"), ("list.csv", "--clips"),
])
def test_what_is_no_source_is_refused(source, message):
    with pytest.raises(ValueError, match=message):
        open_source(source)


def test_an_empty_folder_is_refused_with_what_was_left_out(tmp_path):
    halves(RED, BLUE).save(tmp_path / "alone.png")
    with pytest.raises(ValueError, match="no clip in it.*left out 1: a picture without a sound") as caught:
        open_source(str(tmp_path))
    assert_one_sentence(str(caught.value), tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="no colons in names there")
def test_a_folder_with_a_colon_is_found_again_from_elsewhere(tmp_path, monkeypatch):
    write_pair(tmp_path / "take:2", "a")
    monkeypatch.chdir(tmp_path)
    listing = open_source("take:2")
    monkeypatch.chdir("/")
    assert reopen(listing.settings["source"], 1) == listing


@needs_photos
def test_real_imagehear_is_listed_whole():
    listing = open_source(str(PHOTOS[0].parent))
    assert len(listing.sources) == len(PHOTOS) and not listing.left_out


@pytest.mark.skipif(not VIDEOS, reason="../shared/real/vggsound is absent")
def test_real_vggsound_clip_has_the_same_sound_in_its_wav_and_its_video(tmp_path):
    youtube_id, start, _ = VIDEOS[0].stem.rsplit("_", 2)
    (tmp_path / "one.csv").write_text(f"{youtube_id},{int(start) // 1000},dog,test\n")
    source, = vggsound(tmp_path / "one.csv", REAL / "vggsound").sources
    clip = decode(source, seconds=10, choose=lambda number: [0, number - 1])
    assert len(clip.frames) == 2 and clip.frames[0].tobytes() != clip.frames[1].tobytes()
    own = load_audio(VIDEOS[0], HEARING_RATE, 10)
    own = load_audio(VIDEOS[0], HEARING_RATE, 10)
    lagged = fftconvolve(own, clip.waveform[::-1])  # the two start some hundredths of a second apart
    assert lagged.max() > 0.98 * np.linalg.norm(own) * np.linalg.norm(clip.waveform)


# ------------------------------------------------------------------------------------------------------------ sounds


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_257, 44_100, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_any_rate_and_number_of_channels_becomes_mono(tmp_path, rate, channels):
    tone = np.repeat(sine(500, rate, rate)[:, None], channels, 1)
    soundfile.write(tmp_path / "tone.wav", tone, rate)
    waveform = load_audio(tmp_path / "tone.wav", HEARING_RATE)
    assert waveform.ndim == 1 and len(waveform) == pytest.approx(HEARING_RATE, abs=2)
    assert main_frequency(waveform, HEARING_RATE) == pytest.approx(500, abs=2)
    assert np.abs(waveform[2000:-2000]).max() == pytest.approx(0.5, abs=0.02)


def test_only_the_seconds_asked_for_are_read(tmp_path):
    soundfile.write(tmp_path / "long.wav", np.repeat([0.1, 0.2], 44_100), 44_100)
    write_video(tmp_path / "long.mp4", [0], sound=True)
    assert len(load_audio(tmp_path / "long.wav", HEARING_RATE, 0.5)) == HEARING_RATE // 2
    assert len(load_audio(tmp_path / "long.mp4", HEARING_RATE, 0.5)) == HEARING_RATE // 2


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path, value):
    samples = sine(440)
    samples[100] = value
    soundfile.write(tmp_path / "bad.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(ValueError, match="no numbers") as caught:
        load_audio(tmp_path / "bad.wav", HEARING_RATE)
    assert_one_sentence(str(caught.value), tmp_path / "bad.wav")


@pytest.mark.parametrize("samples", [0, 1])
@pytest.mark.parametrize("rate", [16_000, 44_100, 96_000])
def test_no_sample_is_refused_and_one_is_a_sound(tmp_path, samples, rate):
    soundfile.write(tmp_path / "short.wav", np.full(samples, 0.5), rate)
    if samples:
        assert len(load_audio(tmp_path / "short.wav", HEARING_RATE)) == 1
    else:
        with pytest.raises(ValueError, match="holds no sound"):
            load_audio(tmp_path / "short.wav", HEARING_RATE)


def test_a_video_without_sound_is_named(tmp_path):
    path = write_video(tmp_path / "mute.mp4", [10, 20])
    with pytest.raises(ValueError, match="holds no sound") as caught:
        decode(FileSource("mute", None, None, str(path), str(path)))
    assert_one_sentence(str(caught.value), path)


# ------------------------------------------------------------------------------------------------------------ frames


def levels(frames: list[Image.Image]) -> np.ndarray:
    return np.array([np.asarray(frame, float).mean() for frame in frames])


def write_uneven_video(path: Path, times: list[float], key_every: int = 3) -> Path:
    """A video whose frame of number i is on show from `times[i]` seconds on and has the level 20 + 10 i."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=100)
        stream.width, stream.height, stream.pix_fmt, stream.codec_context.gop_size = 64, 48, "yuv420p", key_every
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 + 10 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(100 * time), Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("key_every", [1, 3, 100])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frames_of_an_uneven_video_are_those_on_show(tmp_path, key_every, suffix):
    times = [0, 0.1, 0.2, 1.9, 2.5, 2.6, 2.7, 4.1, 4.4, 5.2]
    path = write_uneven_video(tmp_path / f"uneven{suffix}", times, key_every)
    found = (levels(sample_frames(path, rate=2.0)) - 20) / 10
    wanted = [np.searchsorted(times, moment + 1e-6) - 1 for moment in np.arange(len(found)) / 2]
    assert len(found) >= 10 and np.allclose(found, wanted, atol=0.4)


def test_only_chosen_frames_come_back_and_in_order(tmp_path):
    path = write_video(tmp_path / "ramp.mp4", [20 + 4 * i for i in range(48)])
    every = levels(sample_frames(path, rate=10.0))
    assert len(every) == 48
    for choice in ([0], [24], [3, 40]):
        assert np.allclose(levels(sample_frames(path, 10.0, lambda number: choice)), every[choice], atol=2)


def test_one_frame_costs_no_more_decoding_than_its_group_of_pictures(tmp_path, monkeypatch):
    import v2a_utils.data.media as media

    path = write_uneven_video(tmp_path / "many keys.mp4", [i / 10 for i in range(20)], key_every=5)
    decoded, frames_at = [], media._frames_at

    class Counting:
        def __init__(self, container):
            self.container, self.seek = container, container.seek

        def decode(self, stream):
            for frame in self.container.decode(stream):
                decoded.append(frame.pts)
                yield frame

    monkeypatch.setattr(media, "_frames_at", lambda container, *rest: frames_at(Counting(container), *rest))
    assert levels(sample_frames(path, 10.0, lambda number: [17]))[0] == pytest.approx(190, abs=6)
    assert 1 <= len(decoded) <= 6


@pytest.mark.parametrize("matrix, corner", [((0, 1, -1, 0), (44, 3)), ((-1, 0, 0, -1), (60, 44)),
                                            ((0, -1, 1, 0), (3, 60))])
def test_a_video_with_a_rotation_tag_is_turned_upright(tmp_path, matrix, corner):
    """The display matrix (a, b, c, d) maps a stored point to (a x + c y, b x + d y)."""
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        picture = Image.new("RGB", (64, 48), BLUE)
        picture.paste(RED, (0, 0, 16, 16))  # a red corner, stored at the top left
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode(None))
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 44  # of the matrix in a track header of version 0 (ISO/IEC 14496-12)
    a, b, c, d = matrix
    content[place : place + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    frame = sample_frames(path)[0]
    assert frame.size == ((48, 64) if a == 0 else (64, 48))
    red = frame.getpixel(corner)
    assert red[0] > 150 > 100 > red[2]
