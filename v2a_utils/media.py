"""Pictures and videos from disk: whatever Pillow and PyAV read, as lists of RGB frames."""

import warnings
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageOps, ImageSequence

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".avif", ".jp2", ".ico", ".tga"}
VIDEOS = {".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ogv", ".ts", ".flv", ".wmv", ".3gp"}
MAX_FRAMES = 16
MAX_RATIO = 20  # wider or taller pictures are cut to their middle: nothing would be left of them at 128 pixels


class NothingToSee(ValueError):
    """A sound file that holds no pictures; its message is a sentence already."""


def list_inputs(paths: list[str]) -> list[Path]:
    """Files as given; a folder stands for the pictures and videos right inside it, sorted by name."""
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            found += sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES | VIDEOS)
        else:
            found.append(path)
    return found


def load_frames(path: str | Path, max_frames: int = MAX_FRAMES) -> list[Image.Image]:
    """RGB frames of a picture (one), an animated picture or a video (at most `max_frames`, evenly spread).

    Pictures are turned upright by their EXIF tag, transparency is laid on white. Raises ValueError with one sentence
    that names the file when there is nothing to see in it.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty (0 bytes)")
    try:
        if path.suffix.lower() in VIDEOS:
            return _video_frames(path, max_frames)
        return _picture_frames(path, max_frames)
    except NothingToSee:
        raise
    except Exception as error:  # on damaged files Pillow raises nearly anything: ValueError, TypeError, KeyError, ...
        reason = str(error).replace("\n", " ").replace(f"'{path}'", "it") or type(error).__name__
        raise ValueError(f"{path}: not a picture or video that can be read ({reason})") from error


def _picture_frames(path: Path, max_frames: int) -> list[Image.Image]:
    with warnings.catch_warnings(), Image.open(path) as image:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        number = getattr(image, "n_frames", 1)
        chosen = set(_spread(number, max_frames))
        return [_to_rgb(frame) for i, frame in enumerate(ImageSequence.Iterator(image)) if i in chosen]


def _to_rgb(image: Image.Image) -> Image.Image:
    image = _cut_extreme(ImageOps.exif_transpose(image))
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image, np.float64)
        spread = np.ptp(values) or 1.0
        image = Image.fromarray(((values - values.min()) / spread * 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(image)
        image = ground
    return image.convert("RGB")


def _cut_extreme(image: Image.Image) -> Image.Image:
    width, height = image.size
    limit = MAX_RATIO * min(width, height)
    left, top = max(width - limit, 0) // 2, max(height - limit, 0) // 2
    return image.crop((left, top, width - left, height - top))


def _video_frames(path: Path, max_frames: int) -> list[Image.Image]:
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise NothingToSee(f"{path}: the file holds no pictures, only sound; give a picture or a video")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        duration = (stream.duration or 0) * float(stream.time_base) or (container.duration or 0) / av.time_base
        frames = _seek_frames(container, stream, duration, max_frames) if duration else []
        if not frames:
            container.seek(0)
            frames = [frame.to_image() for _, frame in zip(range(max_frames), container.decode(stream))]
    if not frames:
        raise NothingToSee(f"{path}: no frame of the video can be decoded")
    return frames


def _seek_frames(container, stream, duration: float, max_frames: int) -> list[Image.Image]:
    """Frames at evenly spread times: jumps to the key frame before each, decodes no further than needed."""
    origin, frames = stream.start_time or 0, []
    for moment in (np.arange(max_frames) + 0.5) * duration / max_frames:
        target = origin + int(moment / float(stream.time_base))
        container.seek(target, stream=stream)
        for frame in container.decode(stream):
            if frame.pts is None or frame.pts >= target:
                frames.append(frame.to_image())
                break
    return frames


def _spread(number: int, most: int) -> list[int]:
    """At most `most` indices evenly spread over range(number)."""
    return sorted({int((i + 0.5) * number / min(number, most)) for i in range(min(number, most))})
