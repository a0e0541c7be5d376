"""SoundWorld as files: labelled pairs, or films and pictures laid out like VGGSound and ImageHear.

`data.sources` reads them as it reads those data sets, so that a reproduction can be rehearsed on them.
"""

import base64
import csv
import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import av
import numpy as np
from PIL import Image
from soundworld import SAMPLE_RATE, Scene, draw, make_scene, picture_caption, sound_caption, synthesise
from soundworld.films import FRAME_RATE, film
from tqdm.auto import tqdm

from v2a_utils.data.audio import save_audio
from v2a_utils.data.files import refuse_existing, whole_file
from v2a_utils.data.media import encode_sound
from v2a_utils.data.sources import VGGSOUND_SECONDS

VGGSOUND_LIST = "vggsound.csv"
TEST_EVERY = 5  # every fifth film shows a scene of the split test


def write_pairs(out: Path, split: str, count: int, seed: int = 0, overwrite: bool = False) -> None:
    """`count` pictures (png) and sounds (wav) of a split, named by the scene's id, and all that is known of them.

    A row of OUT/labels.csv is a scene: id, class, captions of picture and sound, and every attribute. The columns of a
    second thing end in 2. FileExistsError before anything is replaced without `overwrite`.
    """
    scenes, rows = [make_scene(split, index, seed) for index in range(count)], []
    names = [f"{scene.id}.{suffix}" for scene in scenes for suffix in ("png", "wav")]
    refuse_existing([out / name for name in ("labels.csv", *names)], overwrite)
    out.mkdir(parents=True, exist_ok=True)
    for scene in tqdm(scenes, unit="pair"):
        _write_picture(out / f"{scene.id}.png", draw(scene))
        save_audio(out / f"{scene.id}.wav", synthesise(scene), SAMPLE_RATE)
        rows.append({"id": scene.id, "class": "+".join(scene.labels), "caption": picture_caption(scene),
                     "sound_caption": sound_caption(scene)} | _attributes(scene))
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with whole_file(out / "labels.csv") as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def _attributes(scene: Scene) -> dict:
    columns = {"style": scene.style, "background": scene.background, "light": scene.light, "stroke": scene.stroke}
    for number, thing in enumerate(scene.things, start=1):
        mark = "" if number == 1 else str(number)
        columns |= {f"{name}{mark}": value for name, value in asdict(thing).items()}
    return columns


def write_vggsound(out: Path, count: int, seed: int = 0, overwrite: bool = False) -> Path:
    """`count` films of SoundWorld, four fifths of them train, and their list; returns the list's path.

    Films lie in OUT/video, named `<YouTube id>_<start ms>_<end ms>.mp4` with a made-up id. The names span ten seconds,
    as VGGSound's do; the films last 2.56. A row of OUT/vggsound.csv is an id, a start second, a label (the main thing's
    class) and a split. Existing films are kept; FileExistsError for an existing list without `overwrite`.
    """
    refuse_existing([out / VGGSOUND_LIST], overwrite)
    rows = []
    for number in tqdm(range(count), unit="film"):
        split = "test" if number % TEST_EVERY == TEST_EVERY - 1 else "train"
        scene = make_scene(split, number, seed)
        name, start = youtube_id(scene), number % 300
        path = out / "video" / f"{name}_{start * 1000}_{(start + VGGSOUND_SECONDS) * 1000}.mp4"
        if not path.is_file():
            write_film(path, film(scene), FRAME_RATE, synthesise(scene), SAMPLE_RATE)
        rows.append((name, start, scene.label, split))
    with whole_file(out / VGGSOUND_LIST) as temporary, open(temporary, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return out / VGGSOUND_LIST


def write_imagehear(out: Path, count: int, seed: int = 0, overwrite: bool = False) -> list[Path]:
    """`count` out-of-distribution pictures of single things, named `<class><n>.jpg`; returns their paths.

    FileExistsError before anything is replaced without `overwrite`.
    """
    numbers, scenes, index = Counter(), {}, 0
    while len(scenes) < count:
        scene = make_scene("ood", index, seed)
        index += 1
        if len(scene.things) == 1:
            numbers[scene.label] += 1
            scenes[out / f"{scene.label}{numbers[scene.label]}.jpg"] = scene
    refuse_existing(scenes, overwrite)
    for path, scene in scenes.items():
        _write_picture(path, draw(scene), quality=95)
    return list(scenes)


def _write_picture(path: Path, picture: Image.Image, **how) -> None:
    content = io.BytesIO()  # Pillow does not notice that a disk becomes full
    picture.save(content, Image.registered_extensions()[path.suffix], **how)
    with whole_file(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def youtube_id(scene: Scene) -> str:
    """Eleven characters like those of a YouTube id, from a hash of the scene's id."""
    return base64.urlsafe_b64encode(hashlib.sha256(scene.id.encode()).digest())[:11].decode()


def write_film(path: Path, frames: Sequence[Image.Image], frame_rate: int, waveform: np.ndarray,
               sample_rate: int) -> None:
    """Write an mp4 of RGB frames (H.264) and a mono sound (AAC)."""
    with whole_file(path) as temporary, av.open(str(temporary), "w") as container:
        pictures = container.add_stream("libx264", rate=frame_rate, options={"crf": "18", "preset": "veryfast"})
        pictures.width, pictures.height, pictures.pix_fmt = *frames[0].size, "yuv420p"
        pictures.thread_count = 1  # the same file everywhere
        sound = container.add_stream("aac", rate=sample_rate, layout="mono", bit_rate=96_000)
        for frame in frames:
            container.mux(pictures.encode(av.VideoFrame.from_image(frame)))
        container.mux(pictures.encode(None))
        container.mux(encode_sound(sound, waveform, sample_rate))
