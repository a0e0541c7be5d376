"""Pictures and videos, whatever Pillow and PyAV can read, as RGB frames; and videos with a new sound.

What a file is, its content says and not its name.
"""

import math
import mimetypes
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageOps

from v2a_utils.data.files import complaint, whole_file

# suffixes, for those who list files without opening them
PICTURES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm",
            ".avif", ".jp2", ".ico", ".tga", ".heic", ".heif"}
VIDEOS = {".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ogv", ".ts", ".mts", ".m2ts", ".flv",
          ".wmv", ".3gp", ".3g2", ".vob", ".mxf"}
ANIMATED = {"AVIF", "FLI", "GIF", "PNG", "WEBP"}  # Pillow's formats whose further pictures are a film
# Pillow's formats that only name a file (no decoder of its own), start a program, or take nearly any bytes for theirs
_NO_PICTURES = {"BUFR", "EPS", "FTEX", "GBR", "GRIB", "HDF5", "IPTC", "MCIDAS", "MPEG", "PCD", "SPIDER", "WMF",
                "XVTHUMB"}
_TEXT_AS_FILM = {"tty", "subviewer", "srt", "webvtt"}  # FFmpeg's formats that play text
MAX_FRAMES = 16
THUMBNAIL, THUMBNAILS_AT_ONCE = 128, 32  # pixels of the shorter side; how many frames lie in memory in full size
MAX_RATIO = 20  # of a picture's sides; more elongated ones are cut to their middle, or nothing is left at 128 pixels
SHORT_SIDE = 448  # pixels that a large picture's shorter side keeps at least: twice CLIP's input
MAX_PIXELS = 50_000_000  # of a decoded picture (200 MB); a JPEG may be larger, it is decoded at a fraction of its size
ORIENTATION = 0x0112  # numbers of the EXIF tags
SUBFILE = 0x00FE  # its lowest bit marks a TIFF's page as a smaller copy of another

Image.init()


class MediaError(ValueError):
    """What is wrong with a picture or a video, in one sentence."""


def list_inputs(paths: Sequence[str | Path]) -> tuple[list[Path], list[Path]]:
    """The pictures and videos that files and folders stand for, and what lies in the folders beside them.

    A folder stands for its own pictures and videos, sorted by name, without hidden ones. What is called a picture or a
    video but cannot be read as one is listed with them, so that reading it says why.
    """
    found, left_out = [], []
    for path in map(Path, paths):
        if not path.is_dir():
            found.append(path)
            continue
        for each in sorted(each for each in path.iterdir() if each.name[0] != "." and not each.is_dir()):
            kind = kind_of(each)
            named = kind is None and (is_called(each, "image") or is_called(each, "video"))
            (found if named or kind in ("picture", "video") else left_out).append(each)
    return found, left_out


def is_called(path: Path, kind: str) -> bool:
    """Whether a file's name says that it is an "image" or a "video"."""
    suffixes = {"image": PICTURES, "video": VIDEOS}[kind]
    return path.suffix.lower() in suffixes or (mimetypes.guess_type(path.name)[0] or "").startswith(kind)


def kind_of(path: Path) -> str | None:
    """"picture", "video" or "sound" by a file's content; None for anything else, and for what cannot be opened."""
    if (mimetypes.guess_type(path.name)[0] or "").startswith("text/"):
        return None
    try:
        with open_picture(path):
            return "picture"
    except Exception:  # damaged files raise nearly anything
        pass
    try:
        with open_film(path) as container:
            if moving_pictures(container) is not None:
                return "picture" if container.format.name.endswith("_pipe") else "video"
            return "sound" if container.streams.audio else None
    except (OSError, ValueError):  # FFmpeg's errors are both
        return None


def open_picture(path: Path) -> Image.Image:
    """A picture's file, opened by Pillow; nothing is decoded yet."""
    return Image.open(path, formats=[name for name in Image.ID if name not in _NO_PICTURES])


@contextmanager
def open_film(path: str | Path) -> Iterator[av.container.InputContainer]:
    """A film or sound file, opened by FFmpeg from its bytes: no name can be taken for a protocol or for no text."""
    with open(path, "rb") as file, av.open(file) as container:
        if container.format.name in _TEXT_AS_FILM:
            raise MediaError(f"{path}: holds text, not a picture, a video or a sound")
        yield container


def moving_pictures(container: av.container.InputContainer) -> av.VideoStream | None:
    """The stream of pictures that a player would show; None where there is none but a cover."""
    films = [one for one in container.streams.video if not one.disposition & av.stream.Disposition.attached_pic]
    best = container.streams.best("video")
    return best if best in films else next(iter(films), None)


def load_frames(path: str | Path, max_frames: int = MAX_FRAMES) -> list[Image.Image]:
    """RGB frames of a picture (one), an animated picture or a video (at most `max_frames`, evenly spread).

    Of a file with several pictures (a phone's gain map, a preview, pages) it is the one that a viewer shows.

    Pictures and videos are turned upright by their tags, transparency is laid on white, and large ones are made smaller
    (SHORT_SIDE). Raises ValueError with one sentence that names the file when there is nothing to see in it, or when it
    is too large to be decoded (MAX_PIXELS).
    """
    def moments(seconds: float) -> list[float]:
        return [(i + 0.5) * seconds / max_frames for i in range(max_frames)]

    return _read(Path(path), moments, lambda number: _spread(number, max_frames))


def sample_frames(
    path: str | Path, rate: float = 1.0, choose: Callable[[int], Sequence[int]] = range, seconds: float = math.inf
) -> list[Image.Image]:
    """RGB frames of a video's first `seconds`, `rate` of them a second; of an animation all, of a picture the one.

    `choose(n)` picks the numbers of those n frames to return; no more is decoded than they need. Else as `load_frames`.
    """
    def moments(length: float) -> list[float]:
        number = max(math.ceil(min(length, seconds) * rate - 1e-6), 1)
        return [index / rate for index in sorted(choose(number))]

    return _read(Path(path), moments, choose)


def video_seconds(path: str | Path) -> float:
    """How long the pictures of a video last. ValueError names a file that is no video."""
    try:
        with open_film(path) as container:
            pictures = moving_pictures(container)
            if pictures is None or container.format.name.endswith("_pipe"):
                raise MediaError(f"{path}: not a video; give one, or leave out --video")
            return _seconds(path, container, pictures)
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"{path}: not a video that can be read ({complaint(error, path)})") from error


def thumbnails(path: str | Path, start: float, stop: float, rate: float) -> tuple[np.ndarray, float]:
    """Frames of a video from `start` to `stop` seconds, (n, height, width, 3) in 0..255, at most `rate` a second.

    Returns the frames, the shorter side THUMBNAIL pixels, and how many a second they are: no more than the video has.
    Where the video ends earlier, so do they.
    """
    with open_film(path) as container:
        rate = min(rate, float(getattr(moving_pictures(container), "average_rate", None) or rate))
    last, frames = round(min(stop, video_seconds(path)) * rate), []
    for first in range(round(start * rate), last, THUMBNAILS_AT_ONCE):
        numbers = range(first, min(first + THUMBNAILS_AT_ONCE, last))
        for frame in sample_frames(path, rate, lambda number: [one for one in numbers if one < number]):
            share = THUMBNAIL / min(frame.size)
            frames.append(np.asarray(frame.resize([round(side * share) for side in frame.size], Image.Resampling.BOX)))
    return np.stack(frames) if frames else np.zeros((0, THUMBNAIL, THUMBNAIL, 3), np.uint8), rate


def put_sound(video: str | Path, target: str | Path, waveform: np.ndarray, sample_rate: int) -> None:
    """Copy the pictures of `video`, without encoding them anew, and add a sound (samples,) in [-1, 1] as AAC.

    It begins with the first picture and replaces the video's own sound. ValueError if the container lacks the codec.
    """
    target = temporary = Path(target)
    try:
        with (whole_file(target) as temporary, open_film(video) as source, open(temporary, "wb") as file,
              av.open(file, "w", format=target.suffix[1:]) as result):
            pictures = moving_pictures(source)
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
    """The frames of a video at `moments(its seconds)`, or those of a picture's n numbered `choose(n)`."""
    try:
        if path.stat().st_size == 0:
            raise MediaError(f"{path}: the file is empty (0 bytes)")
        try:
            image = open_picture(path)
        except Image.UnidentifiedImageError:
            return _video_frames(path, moments)
        with image:
            return _picture_frames(image, path, choose)
    except MediaError:
        raise
    except FileNotFoundError:
        raise MediaError(f"{path}: no such file") from None
    except Image.DecompressionBombError as error:
        raise MediaError(f"{path}: the picture is too large to be decoded; save it with at most "
                         f"{MAX_PIXELS / 1e6:.0f} million pixels") from error
    except Exception as error:  # on damaged files Pillow raises nearly anything: ValueError, TypeError, KeyError, ...
        raise MediaError(f"{path}: not a picture or video that can be read ({complaint(error, path)})") from error


def _picture_frames(image: Image.Image, path: Path, choose: Callable[[int], Sequence[int]]) -> list[Image.Image]:
    frames, (first, number) = [], _film_in(image)
    for index in sorted(set(choose(number))):
        try:
            image.seek(first + index)
            frames.append(_to_rgb(_decoded(image, path)))
        except Exception:
            if not frames:  # what is damaged behind a whole picture does no harm
                raise
            break
    return frames


def _film_in(image: Image.Image) -> tuple[int, int]:
    """Where in a file the film begins, and its number of frames; of anything but a film where the one picture is."""
    if image.format not in ANIMATED | {"TIFF"}:
        return 0, 1
    try:
        if image.format == "TIFF":
            while image.tag_v2.get(SUBFILE, 0) & 1:  # no further: what lies behind may be damaged
                image.seek(image.tell() + 1)
            return image.tell(), 1
        first = int(getattr(image, "default_image", False))  # an APNG's picture for viewers that know no films
        return first, max(getattr(image, "n_frames", 1) - first, 1)
    except Exception:  # a film that is cut off or damaged
        return 0, 1


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
    with open_film(path) as container:
        film = moving_pictures(container)
        stream = film or container.streams.best("video")
        if stream is None:
            raise MediaError(f"{path}: the file holds no pictures, only sound; give a picture or a video")
        times = [0.0] if film is None else moments(_seconds(path, container, film))
        frames, shown, picture = [], None, None
        for frame in _frames_at(container, stream, times):  # made small before the next is decoded
            picture = picture if frame is shown else _small_upright(frame)
            frames.append(picture)
            shown = frame
    if not frames:
        raise MediaError(f"{path}: no frame of the video can be decoded")
    return frames


def _seconds(path: str | Path, container, stream) -> float:
    """Seconds that the pictures last; where the file does not say, as a browser's recordings, its packets do."""
    stated = (stream.duration or 0) * float(stream.time_base) or (container.duration or 0) / av.time_base
    if stated > 0:
        return stated
    with open_film(path) as again:
        times = [(float(packet.pts * packet.time_base), float((packet.duration or 0) * packet.time_base))
                 for packet in again.demux() if packet.pts is not None]
    return max((begin + lasts for begin, lasts in times), default=0.0) - min(times, default=(0.0, 0.0))[0]


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
