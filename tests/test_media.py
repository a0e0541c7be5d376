"""Pictures and videos from disk: what can be read, and what is said when it cannot."""

import subprocess
import sys

import av
import numpy as np
import pytest
from conftest import PHOTOS, ROOT, VIDEOS, assert_one_sentence, halves, needs_photos, write_video
from PIL import Image

from v2a_utils.data.media import MAX_FRAMES, MAX_PIXELS, SHORT_SIDE, list_inputs, load_frames

BLACK, WHITE, RED, BLUE = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 0, 255)
SAVED = [  # mode, file name
    ("RGB", "a.png"), ("RGB", "a.jpg"), ("RGB", "a.webp"), ("RGB", "a.bmp"), ("RGB", "a.tif"), ("RGB", "a.ppm"),
    ("RGB", "a.tga"), ("L", "a.png"), ("L", "a.jpg"), ("P", "a.png"), ("P", "a.gif"), ("RGBA", "a.png"),
    ("LA", "a.png"), ("1", "a.png"), ("1", "a.tif"), ("CMYK", "a.jpg"), ("CMYK", "a.tif"), ("YCbCr", "a.jpg"),
]


def grey(frame: Image.Image) -> float:
    return float(np.asarray(frame, float).mean())


def noisy(size: int = 96) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size, size, 3)).astype(np.uint8))


# --------------------------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize("mode, name", SAVED)
def test_every_mode_becomes_rgb_with_its_content(tmp_path, mode, name):
    halves(BLACK, WHITE).convert(mode).save(tmp_path / name)
    frame, = load_frames(tmp_path / name)
    assert frame.mode == "RGB" and frame.size == (40, 24)
    assert max(frame.getpixel((5, 12))) < 30 and min(frame.getpixel((35, 12))) > 225


@pytest.mark.parametrize("dtype, high, name", [(np.uint16, 65_535, "a.png"), (np.uint16, 4_000, "a.tif"),
                                               (np.int32, 100_000, "a.tif"), (np.float32, 1.0, "a.tif")])
def test_deep_pictures_are_brought_to_eight_bits(tmp_path, dtype, high, name):
    ramp = np.tile(np.linspace(0, high, 32), (16, 1)).astype(dtype)
    Image.fromarray(ramp).save(tmp_path / name)
    with Image.open(tmp_path / name) as stored:
        assert stored.mode in ("I;16", "I;16B", "I", "F")
    levels = np.asarray(load_frames(tmp_path / name)[0])[8, :, 0].astype(int)
    assert levels[0] == 0 and levels[-1] == 255 and (np.diff(levels) > 0).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_deep_picture_of_one_value_is_read(tmp_path, dtype):
    Image.fromarray(np.full((8, 8), 700, dtype)).save(tmp_path / "even.tif")
    assert load_frames(tmp_path / "even.tif")[0].size == (8, 8)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(tmp_path, mode):
    picture = halves(BLACK, BLACK).convert(mode)
    alpha = Image.new("L", picture.size, 255)
    alpha.paste(0, (0, 0, 20, 24))
    picture.putalpha(alpha)
    picture.save(tmp_path / "clear.png")
    frame, = load_frames(tmp_path / "clear.png")
    assert frame.getpixel((5, 12)) == WHITE and frame.getpixel((35, 12)) == BLACK


def test_transparent_palette_entry_is_laid_on_white(tmp_path):
    picture = Image.new("P", (40, 24), 1)
    picture.putpalette([0, 0, 255, 255, 0, 0])
    picture.paste(0, (0, 0, 20, 24))
    picture.save(tmp_path / "clear.png", transparency=0)
    frame, = load_frames(tmp_path / "clear.png")
    assert frame.getpixel((5, 12)) == WHITE and frame.getpixel((35, 12)) == RED


def test_exif_orientation_turns_the_picture_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the left side is the top
    halves(RED, BLUE).save(tmp_path / "phone.jpg", exif=exif, quality=95, subsampling=0)
    frame, = load_frames(tmp_path / "phone.jpg")
    assert frame.size == (24, 40)
    top, bottom = frame.getpixel((12, 3)), frame.getpixel((12, 36))
    assert top[0] > 200 > 60 > top[2] and bottom[2] > 200 > 60 > bottom[0]


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".avif"])
@pytest.mark.parametrize("number", [3, 40])
def test_animated_picture_gives_evenly_spread_frames(tmp_path, suffix, number):
    frames = [Image.new("RGB", (16, 16), (6 * i,) * 3) for i in range(number)]
    extra = {"lossless": True} if suffix == ".webp" else {}
    frames[0].save(tmp_path / f"moving{suffix}", save_all=True, append_images=frames[1:], **extra)
    levels = [grey(frame) / 6 for frame in load_frames(tmp_path / f"moving{suffix}")]
    assert len(levels) == min(number, MAX_FRAMES)
    wanted = [(i + 0.5) * number / len(levels) - 0.5 for i in range(len(levels))]
    assert np.allclose(levels, wanted, atol=1.1)


@pytest.mark.parametrize("size", [(30_000, 1), (1, 30_000), (1, 1)])
def test_very_wide_and_very_tall_pictures_are_embedded(tmp_path, stack, size):
    Image.new("RGB", size, RED).save(tmp_path / "strip.png")
    frames = load_frames(tmp_path / "strip.png")
    embedding = stack.vision.embed_frames(frames)
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-4)


@needs_photos
@pytest.mark.parametrize("path", PHOTOS, ids=lambda path: path.stem)
def test_real_photographs_are_read(path):
    frame, = load_frames(path)
    assert frame.mode == "RGB" and min(frame.size) > 50 and np.asarray(frame).std() > 5


# ----------------------------------------------------------------------------------------------------- large pictures


@pytest.mark.parametrize("mode, name", [("RGB", "a.jpg"), ("CMYK", "a.jpg"), ("L", "a.jpg"), ("RGB", "a.png"),
                                        ("RGBA", "a.png"), ("P", "a.png"), ("1", "a.png"), ("RGB", "a.tif")])
def test_large_pictures_are_made_smaller_and_keep_their_content(tmp_path, mode, name):
    exif = Image.Exif()
    exif[0x0112] = 6  # the left side is the top
    extra = {} if mode in ("P", "1") else {"exif": exif}
    halves(BLACK, WHITE, (2100, 1500)).convert(mode).save(tmp_path / name, **extra)
    frame, = load_frames(tmp_path / name)
    short, long = sorted(frame.size)
    assert SHORT_SIDE <= short < 1500 and long / short == pytest.approx(1.4, rel=0.01) and frame.mode == "RGB"
    places = ((0.1, 0.5), (0.9, 0.5)) if not extra else ((0.5, 0.1), (0.5, 0.9))
    dark, bright = (frame.getpixel((int(x * frame.width), int(y * frame.height))) for x, y in places)
    assert max(dark) < 30 and min(bright) > 225


def test_a_large_deep_picture_is_brought_to_eight_bits(tmp_path):
    Image.fromarray(np.tile(np.linspace(0, 60_000, 1000), (1000, 1)).astype(np.uint16)).save(tmp_path / "deep.png")
    levels = np.asarray(load_frames(tmp_path / "deep.png")[0])[200, :, 0].astype(int)
    assert len(levels) == 500 and levels[0] == 0 and levels[-1] == 255 and (np.diff(levels) >= 0).all()


@pytest.mark.parametrize("side", [8_000, 12_000, 20_000])  # above our limit, above Pillow's warning, above its limit
def test_a_small_file_that_unpacks_to_a_huge_picture_is_refused_in_one_sentence(tmp_path, side):
    Image.new("1", (side, side)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 100_000
    with pytest.raises(ValueError, match=f"at most {MAX_PIXELS // 10**6} million") as caught:
        load_frames(tmp_path / "bomb.png")
    assert_one_sentence(str(caught.value), tmp_path / "bomb.png")


def peak_memory(code: str, *arguments) -> float:
    """MB that a process needs beyond its imports to run `code`."""
    program = ("import resource, sys, v2a_utils.data.media as media\n"
               "unit = 1e6 if sys.platform == 'darwin' else 1e3\n"
               "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit\n"
               f"before = peak()\n{code}\nprint(peak() - before)")
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.parametrize("name", ["large.png", "large.jpg"])
def test_a_large_picture_takes_little_memory(tmp_path, name):
    Image.new("RGB", (7000, 7000), RED).save(tmp_path / name)
    peak = peak_memory("media.load_frames(sys.argv[1])", tmp_path / name)
    assert peak < (50 if name.endswith("jpg") else 260)  # 49 million pixels of 4 bytes; a JPEG is decoded small


def test_a_long_film_takes_the_memory_of_small_frames(tmp_path):
    path = tmp_path / "long.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=1)
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.full((1080, 1920, 3), 90, np.uint8), format="rgb24")
        for number in range(100):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    code = "frames = media.sample_frames(sys.argv[1])\nassert len(frames) == 100 and min(frames[0].size) == 448"
    assert peak_memory(code, path) < 200  # 100 frames take 620 MB at full size, 107 MB at this
    assert peak_memory("assert len(media.sample_frames(sys.argv[1], seconds=10)) == 10", path) < 100


# ------------------------------------------------------------------------------------------------------ not pictures


def broken_files(folder) -> dict:
    """Files that hold no picture, by what is wrong with them."""
    noisy().save(folder / "whole.jpg")
    whole = (folder / "whole.jpg").read_bytes()
    contents = {"truncated.jpg": whole[: len(whole) // 2], "text.jpg": b"this is not a picture\n", "zero.png": b"",
                "noise.png": np.random.default_rng(1).bytes(3000), "text.mp4": b"no video here\n" * 50,
                "noise.mp4": np.random.default_rng(2).bytes(3000), "zero.mp4": b"",
                "head only.png": b"\x89PNG\r\n\x1a\n", "quo'te.jpg": b"x"}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents} | {"missing.jpg": folder / "missing.jpg", "a folder": folder}


@pytest.mark.parametrize("name", ["truncated.jpg", "text.jpg", "zero.png", "noise.png", "text.mp4", "noise.mp4",
                                  "zero.mp4", "head only.png", "quo'te.jpg", "missing.jpg", "a folder"])
def test_what_is_no_picture_is_named_in_one_sentence(tmp_path, name):
    path = broken_files(tmp_path)[name]
    with pytest.raises(ValueError) as caught:
        load_frames(path)
    assert_one_sentence(str(caught.value), path)


@pytest.mark.parametrize("suffix", ["png", "gif", "bmp", "tif", "webp", "tga", "ico", "jp2", "avif", "ppm"])
def test_a_file_cut_anywhere_is_read_or_named(tmp_path, suffix):
    noisy(48).save(tmp_path / f"whole.{suffix}")
    whole = (tmp_path / f"whole.{suffix}").read_bytes()
    path = tmp_path / f"cut.{suffix}"
    for share in (0.001, 0.01, 0.03, 0.1, 0.3, 0.6, 0.9, 0.99):
        path.write_bytes(whole[: max(int(share * len(whole)), 1)])
        try:
            assert load_frames(path)[0].mode == "RGB"
        except ValueError as error:
            assert_one_sentence(str(error), path)


@pytest.mark.parametrize("suffix", ["png", "gif", "bmp", "tif", "jpg", "webp"])
def test_a_file_with_flipped_bytes_is_read_or_named(tmp_path, suffix):
    noisy(32).save(tmp_path / f"whole.{suffix}")
    whole = bytearray((tmp_path / f"whole.{suffix}").read_bytes())
    path, rng = tmp_path / f"flipped.{suffix}", np.random.default_rng(0)
    for _ in range(40):
        damaged = whole.copy()
        for place in rng.integers(0, min(len(whole), 200), 4):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            assert load_frames(path)[0].mode == "RGB"
        except ValueError as error:
            assert_one_sentence(str(error), path)


# ------------------------------------------------------------------------------------------------------------ videos


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
@pytest.mark.parametrize("sound", [False, True])
def test_video_frames_are_evenly_spread(tmp_path, codec, sound):
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec} encoder")
    path = write_video(tmp_path / "ramp.mp4", [20 + 4 * i for i in range(48)], codec, sound)
    levels = [(grey(frame) - 20) / 4 for frame in load_frames(path)]
    assert len(levels) == MAX_FRAMES
    assert np.allclose(levels, [3 * i + 1.5 for i in range(MAX_FRAMES)], atol=1.6)


def test_video_gives_at_most_the_frames_asked_for(tmp_path):
    path = write_video(tmp_path / "ramp.mkv", [20 + 4 * i for i in range(48)])
    levels = [grey(frame) for frame in load_frames(path, max_frames=3)]
    assert len(levels) == 3 and levels[0] < levels[1] < levels[2]


def test_video_of_one_frame_is_read(tmp_path):
    frames = load_frames(write_video(tmp_path / "short.mp4", [200]))
    assert 1 <= len(frames) <= MAX_FRAMES and grey(frames[0]) == pytest.approx(200, abs=6)


def test_sound_without_pictures_is_refused(tmp_path):
    path = write_video(tmp_path / "song.mp4", None, sound=True)
    with pytest.raises(ValueError, match="only sound") as caught:
        load_frames(path)
    assert_one_sentence(str(caught.value), path)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.8])
def test_truncated_mp4_is_named(tmp_path, share):
    whole = write_video(tmp_path / "whole.mp4", [5 * i for i in range(40)]).read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole[: int(share * len(whole))])  # the index is at the end: without it nothing can be found
    with pytest.raises(ValueError) as caught:
        load_frames(path)
    assert_one_sentence(str(caught.value), path)


@pytest.mark.skipif(not VIDEOS, reason="../shared/real/vggsound is absent")
def test_real_vggsound_clip_gives_different_frames():
    frames = load_frames(VIDEOS[0])
    assert len(frames) == MAX_FRAMES and {frame.mode for frame in frames} == {"RGB"}
    assert len({frame.tobytes() for frame in frames}) > MAX_FRAMES // 2


# ----------------------------------------------------------------------------------------------------------- folders


def test_a_folder_stands_for_its_pictures_and_videos_by_name(tmp_path):
    for name in ("b.PNG", "a.jpg", "._a.jpg", "c.mp4", "notes.txt", "labels.csv"):  # macOS leaves ._ files
        (tmp_path / name).touch()
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "d.png").touch()
    single = tmp_path / "notes.txt"
    inputs, left_out = list_inputs([tmp_path, single])
    assert [path.name for path in inputs] == ["a.jpg", "b.PNG", "c.mp4", "notes.txt"]
    assert [path.name for path in left_out] == ["labels.csv", "notes.txt"]
