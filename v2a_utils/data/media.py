"""Pictures and videos, whatever Pillow and PyAV can read, as RGB frames; and videos with a new sound."""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageOps, ImageSequence

from v2a_utils.data.files import complaint, whole_file

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".avif", ".jp2", ".ico", ".tga"}
VIDEOS = {".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ogv", ".ts", ".flv", ".wmv", ".3gp"}
MAX_FRAMES = 16
MAX_RATIO = 20  # of a picture's sides; more elongated ones are cut to their middle, or nothing is left at 128 pixels
SHORT_SIDE = 448  # pixels that a large picture's shorter side keeps at least: twice CLIP's input
MAX_PIXELS = 50_000_000  # of a decoded picture (200 MB); a JPEG may be larger, it is decoded at a fraction of its size
ORIENTATION = 0x0112  # number of the EXIF tag


class MediaError(ValueError):
    """What is wrong with a picture or a video, in one sentence."""


def list_inputs(paths: list[str]) -> list[Path]:
    """Files as given; a folder stands for its own pictures and videos, sorted by name, without hidden ones."""
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            found += sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES | VIDEOS and p.name[0] != ".")
        else:
            found.append(path)
    return found


def load_frames(path: str | Path, max_frames: int = MAX_FRAMES) -> list[Image.Image]:
    """RGB frames of a picture (one), an animated picture or a video (at most `max_frames`, evenly spread).

    Pictures and videos are turned upright by their tags, transparency is laid on white, and large ones are made smaller
    (SHORT_SIDE). Raises ValueError with one sentence that names the file when there is nothing to see in it, or when it
    is too large to be decoded (MAX_PIXELS).
    """
    def moments(container, stream):
        step = _duration(container, stream) / max_frames
        frame = 1 / float(stream.average_rate or 25)
        return [(i + 0.5) * step if step else i * frame for i in range(max_frames)]

    return _read(Path(path), moments, lambda number: _spread(number, max_frames))


def sample_frames(
    path: str | Path, rate: float = 1.0, choose: Callable[[int], Sequence[int]] = range, seconds: float = math.inf
) -> list[Image.Image]:
    """RGB frames of a video's first `seconds`, `rate` of them a second; of an animation all, of a picture the one.

    `choose(n)` picks the numbers to return of these n frames; no more of a video is decoded than they need. Otherwise
    as `load_frames`.
    """
    def moments(container, stream):
        number = max(math.ceil(min(_duration(container, stream), seconds) * rate - 1e-6), 1)
        return [index / rate for index in sorted(choose(number))]

    return _read(Path(path), moments, choose)


def video_seconds(path: str | Path) -> float:
    """How long the pictures of a video last. ValueError names a file that is no video or does not say."""
    try:
        with av.open(str(path)) as container:
            seconds = _duration(container, container.streams.video[0])
    except (av.FFmpegError, OSError, IndexError) as error:
        raise MediaError(f"{path}: not a video that can be read ({complaint(error, path)})") from error
    if Path(path).suffix.lower() not in VIDEOS or not seconds:
        raise MediaError(f"{path}: not a video that says how long it is; give one as mp4")
    return seconds


def put_sound(video: str | Path, target: str | Path, waveform: np.ndarray, sample_rate: int) -> None:
    """Copy the pictures of `video`, without encoding them anew, and add a sound (samples,) in [-1, 1] as AAC.

    The sound begins with the first picture and replaces the video's own. ValueError when the target's container cannot
    hold the video's codec.
    """
    target = temporary = Path(target)
    try:
        with (whole_file(target) as temporary, av.open(str(video)) as source,
              av.open(str(temporary), "w") as result):
            pictures = source.streams.video[0]
            copied = result.add_stream_from_template(pictures)
            sound = result.add_stream("aac", rate=sample_rate, layout="mono")
            begin = round((pictures.start_time or 0) * pictures.time_base * sample_rate)
            for packet in source.demux(pictures):
                if packet.dts is not None:  # the last, empty one has none
                    packet.stream = copied
                    result.mux(packet)
            result.mux(encode_sound(sound, waveform, sample_rate, begin))
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = complaint(error, temporary)
        raise MediaError(f"{video}: its pictures cannot be copied into {target.name} ({reason})") from error


def encode_sound(stream, waveform: np.ndarray, sample_rate: int, begin: int = 0) -> list[av.Packet]:
    """Packets of a sound that begins at sample `begin`."""
    whole = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform[None], np.float32), format="fltp", layout="mono")
    whole.sample_rate, whole.time_base, whole.pts = sample_rate, Fraction(1, sample_rate), begin
    return [*stream.encode(whole), *stream.encode(None)]


def _read(path: Path, moments: Callable, choose: Callable[[int], Sequence[int]]) -> list[Image.Image]:
    """The frames of a video at `moments(container, stream)` (s), or those of a picture's n numbered `choose(n)`."""
    if not path.is_file():
        raise MediaError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise MediaError(f"{path}: the file is empty (0 bytes)")
    try:
        if path.suffix.lower() in VIDEOS:
            return _video_frames(path, moments)
        return _picture_frames(path, choose)
    except MediaError:
        raise
    except Image.DecompressionBombError as error:
        raise MediaError(f"{path}: the picture is too large to be decoded; save it with at most "
                         f"{MAX_PIXELS / 1e6:.0f} million pixels") from error
    except Exception as error:  # on damaged files Pillow raises nearly anything: ValueError, TypeError, KeyError, ...
        raise MediaError(f"{path}: not a picture or video that can be read ({complaint(error, path)})") from error


def _picture_frames(path: Path, choose: Callable[[int], Sequence[int]]) -> list[Image.Image]:
    with Image.open(path) as image:
        chosen = set(choose(getattr(image, "n_frames", 1)))
        return [_to_rgb(_decoded(frame, path)) for i, frame in enumerate(ImageSequence.Iterator(image)) if i in chosen]


def _decoded(image: Image.Image, path: Path) -> Image.Image:
    """An opened picture, upright, shrunk by a whole factor that leaves its shorter side SHORT_SIDE pixels or more."""
    share = SHORT_SIDE / min(image.size)
    image.draft(None, tuple(math.ceil(side * share) for side in image.size))  # JPEG only, in eighths
    if math.prod(image.size) > MAX_PIXELS:
        raise MediaError(f"{path}: the picture has {image.width} x {image.height} pixels; save it with at most "
                         f"{MAX_PIXELS / 1e6:.0f} million")
    image.load()
    orientation, factor = image.getexif().get(ORIENTATION, 1), min(image.size) // SHORT_SIDE
    if factor < 2:
        small = image
    elif image.mode in ("1", "P", "PA") or image.mode.startswith("I;16"):  # whose values cannot be averaged
        small = image.resize([side // factor for side in image.size], Image.Resampling.NEAREST)
    else:
        small = image.reduce(factor)
    small.getexif()[ORIENTATION] = orientation
    return ImageOps.exif_transpose(small)


def _to_rgb(image: Image.Image) -> Image.Image:
    image = _cut_extreme(image)
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
    if max(width, height) <= limit:
        return image
    left, top = max(width - limit, 0) // 2, max(height - limit, 0) // 2
    return image.crop((left, top, width - left, height - top))


def _video_frames(path: Path, moments: Callable) -> list[Image.Image]:
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise MediaError(f"{path}: the file holds no pictures, only sound; give a picture or a video")
        stream = container.streams.video[0]
        frames, shown, picture = [], None, None
        for frame in _frames_at(container, stream, moments(container, stream)):  # made small before the next is decoded
            picture = picture if frame is shown else _small_upright(frame)
            frames.append(picture)
            shown = frame
    if not frames:
        raise MediaError(f"{path}: no frame of the video can be decoded")
    return frames


def _duration(container, stream) -> float:
    """Seconds that the pictures last, 0 where the file does not say."""
    return (stream.duration or 0) * float(stream.time_base) or (container.duration or 0) / av.time_base


def _frames_at(container, stream, moments: list[float]) -> Iterator[av.VideoFrame]:
    """The frame on show at each moment (seconds from the start, ascending); after the end, the last one.

    Seeks where a key frame lies between two moments, otherwise decodes on; never decodes a frame twice.
    """
    origin = stream.start_time or 0
    keys = sorted(entry.timestamp for entry in stream.index_entries if entry.is_keyframe)
    delay = origin - keys[0] if keys else 0  # the index has decoding times, frames showing times
    stream.thread_type = "NONE"  # threads would decode frames ahead that nobody asked for
    frames, shown, ahead = container.decode(stream), None, None
    for moment in moments:
        target = origin + round(moment / float(stream.time_base))
        before = bisect_right(keys, target - delay)
        key = keys[before - 1] if before else None
        if key is not None and (ahead is None or ahead.pts is None or key + delay > ahead.pts):
            container.seek(key, stream=stream)
            frames, shown, ahead = container.decode(stream), None, None
        while ahead is None or ahead.pts is None or ahead.pts <= target:
            shown, ahead = ahead or shown, next(frames, None)
            if ahead is None:
                break
        if shown or ahead:
            yield shown or ahead


def _small_upright(frame: av.VideoFrame) -> Image.Image:
    """The frame as RGB, its shorter side at most SHORT_SIDE, turned as the camera was held."""
    share = min(SHORT_SIDE / min(frame.width, frame.height), 1)
    width, height = (round(side * share) for side in (frame.width, frame.height))
    picture = frame.to_image(width=width, height=height, interpolation="AREA")
    return picture.rotate(frame.rotation, expand=True)


def _spread(number: int, most: int) -> list[int]:
    """At most `most` indices evenly spread over range(number)."""
    return sorted({int((i + 0.5) * number / min(number, most)) for i in range(min(number, most))})
