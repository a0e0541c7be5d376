"""SoundWorld as files, laid out as data sets are: labelled pairs, or films and pictures as VGGSound's and ImageHear's.

A layout is a function's answer: the name of each file, and a function that makes its content. Nothing is written here,
and nothing of what a scene looks and sounds like is decided here.
"""

import base64
import csv
import hashlib
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from fractions import Fraction
from functools import partial

import av
import numpy as np
import soundfile
from PIL import Image

from soundworld import SAMPLE_RATE, Scene, draw, make_scene, picture_caption, sound_caption, synthesise
from soundworld.films import FRAME_RATE, film

VGGSOUND_LIST = "vggsound.csv"
VGGSOUND_SECONDS = 10  # that the names of its films span
TEST_EVERY = 5  # every fifth film shows a scene of the split test

Files = dict[str, Callable[[], bytes]]


def pairs(split: str, count: int, seed: int = 0) -> Files:
    """`count` pictures (png) and sounds (wav) of a split, named by the scene's id, and all that is known of them.

    A row of labels.csv is a scene: id, class, captions of picture and sound, and every attribute. The columns of a
    second thing end in 2.
    """
    scenes = [make_scene(split, index, seed) for index in range(count)]
    files: Files = {}
    for scene in scenes:
        files[f"{scene.id}.png"] = partial(_picture, scene, "PNG")
        files[f"{scene.id}.wav"] = partial(_sound, scene)
    return files | {"labels.csv": partial(_labels, scenes)}


def vggsound(count: int, seed: int = 0) -> Files:
    """`count` films, four fifths of them train, and their list, in the form of VGGSound.

    Films lie in video/, named `<YouTube id>_<start ms>_<end ms>.mp4` with a made-up id. The names span ten seconds, as
    VGGSound's do; the films last 2.56. A row of the list is an id, a start second, a label (the main thing's class) and
    a split.
    """
    files, rows = {}, []
    for number in range(count):
        split = "test" if number % TEST_EVERY == TEST_EVERY - 1 else "train"
        scene, start = make_scene(split, number, seed), number % 300
        name = _youtube_id(scene)
        files[f"video/{name}_{start * 1000}_{(start + VGGSOUND_SECONDS) * 1000}.mp4"] = partial(_film, scene)
        rows.append((name, start, scene.label, split))
    return files | {VGGSOUND_LIST: lambda: _table(rows)}


def imagehear(count: int, seed: int = 0) -> Files:
    """`count` out-of-distribution pictures of single things, named `<class><n>.jpg` as ImageHear's are."""
    numbers, files, index = Counter(), {}, 0
    while len(files) < count:
        scene = make_scene("ood", index, seed)
        index += 1
        if len(scene.things) == 1:
            numbers[scene.label] += 1
            files[f"{scene.label}{numbers[scene.label]}.jpg"] = partial(_picture, scene, "JPEG", quality=95)
    return files


def mp4(frames: Sequence[Image.Image], frame_rate: int, waveform: np.ndarray, sample_rate: int) -> bytes:
    """A film of RGB frames (H.264) and a mono sound (AAC)."""
    content = io.BytesIO()
    with av.open(content, "w", format="mp4") as container:
        pictures = container.add_stream("libx264", rate=frame_rate, options={"crf": "18", "preset": "veryfast"})
        pictures.width, pictures.height, pictures.pix_fmt = *frames[0].size, "yuv420p"
        pictures.thread_count = 1  # the same file everywhere
        sound = container.add_stream("aac", rate=sample_rate, layout="mono", bit_rate=96_000)
        for frame in frames:
            container.mux(pictures.encode(av.VideoFrame.from_image(frame)))
        container.mux(pictures.encode(None))
        whole = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform[None], np.float32), "fltp", "mono")
        whole.sample_rate, whole.time_base, whole.pts = sample_rate, Fraction(1, sample_rate), 0
        container.mux([*sound.encode(whole), *sound.encode(None)])
    return content.getvalue()


def _picture(scene: Scene, form: str, **how) -> bytes:
    content = io.BytesIO()
    draw(scene).save(content, form, **how)
    return content.getvalue()


def _sound(scene: Scene) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, synthesise(scene), SAMPLE_RATE, "PCM_16", format="WAV")
    return content.getvalue()


def _film(scene: Scene) -> bytes:
    return mp4(film(scene), FRAME_RATE, synthesise(scene), SAMPLE_RATE)


def _labels(scenes: list[Scene]) -> bytes:
    rows = [{"id": scene.id, "class": "+".join(scene.labels), "caption": picture_caption(scene),
             "sound_caption": sound_caption(scene)} | _attributes(scene) for scene in scenes]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return _table([columns, *([row.get(name, "") for name in columns] for row in rows)])


def _attributes(scene: Scene) -> dict:
    columns = {"style": scene.style, "background": scene.background, "light": scene.light, "stroke": scene.stroke}
    for number, thing in enumerate(scene.things, start=1):
        mark = "" if number == 1 else str(number)
        columns |= {f"{name}{mark}": value for name, value in asdict(thing).items()}
    return columns


def _table(rows: list) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _youtube_id(scene: Scene) -> str:
    """Eleven characters like those of a YouTube id, from a hash of the scene's id."""
    return base64.urlsafe_b64encode(hashlib.sha256(scene.id.encode()).digest())[:11].decode()
