"""Sound files: read, resampled, written, and brought to a common loudness."""

import io
import math
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr

from v2a_utils.data.files import complaint, whole_file
from v2a_utils.data.media import open_film

SOUNDS = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".aif", ".aiff", ".wma", ".au", ".caf",
          ".w64", ".ac3", ".amr", ".mka", ".mp2"}
HEARING_RATE = 16_000  # Hz, AudioLDM's: every sound goes through this rate on its way to CLAP, whatever CLAP's own is
LOUDNESS = -20.0  # dB relative to full scale (RMS of the loud parts), of every sound that is written or played
SILENCE = -80.0  # dB: what is quieter is the noise of a recorder or of rounding, and is not made louder


def load_audio(path: str | Path, sample_rate: int, seconds: float | None = None) -> np.ndarray:
    """The sound of a sound file or a video as mono float32 of shape (samples,) at `sample_rate` Hz.

    Any number of channels is averaged; `seconds` limits how much is read from the start. The sound of a video starts
    with its first picture: a later one is preceded by silence, an earlier one loses what nothing is seen of.
    ValueError names a file that cannot be read, holds no sound, or holds NaN or infinite samples.
    """
    return resample(*read_audio(path, seconds), sample_rate)


def read_audio(path: str | Path, seconds: float | None = None) -> tuple[np.ndarray, int]:
    """The sound as `load_audio` gives it, but at the file's own rate, and that rate in Hz."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        waveform, rate = _read_samples(path, seconds)
    except Exception as error:  # damaged files raise nearly anything
        raise ValueError(f"{path}: not a sound file that can be read ({complaint(error, path)})") from error
    if not len(waveform):
        raise ValueError(f"{path}: the file holds no sound")
    if not np.isfinite(waveform).all():
        raise ValueError(f"{path}: the sound holds samples that are no numbers (NaN or infinite); export it anew")
    return waveform.mean(1), rate


def _read_samples(path: Path, seconds: float | None) -> tuple[np.ndarray, int]:
    """Samples as float32 (samples, channels) and their rate in Hz, read by libsndfile or else by FFmpeg."""
    try:
        with open(path, "rb") as content, soundfile.SoundFile(content) as file:
            wanted = -1 if seconds is None else math.ceil(seconds * file.samplerate)
            return file.read(wanted, dtype="float32", always_2d=True), file.samplerate
    except soundfile.LibsndfileError:  # a compressed format or a video
        return _decode_samples(path, seconds)


def _decode_samples(path: Path, seconds: float | None) -> tuple[np.ndarray, int]:
    with open_film(path) as container:
        stream = container.streams.best("audio")
        if stream is None:
            return np.zeros((0, 1), np.float32), 1
        rate = stream.codec_context.sample_rate
        wanted = math.inf if seconds is None else math.ceil(seconds * rate)
        as_floats, blocks, have, late = av.AudioResampler("fltp", stream.layout, rate), [], 0, None
        for frame in container.decode(stream):
            if late is None:
                late = _samples_late(container, frame)
                have = late
            blocks += [block.to_ndarray() for block in as_floats.resample(frame)]
            have += frame.samples
            if have >= wanted:
                break
    if not blocks or late is None:
        return np.zeros((0, 1), np.float32), rate
    waveform = np.concatenate(blocks, axis=1).T
    waveform = np.pad(waveform, ((late, 0), (0, 0))) if late > 0 else waveform[-late:]
    return waveform[: min(wanted, len(waveform))], rate


def _samples_late(container: av.container.InputContainer, first: av.AudioFrame) -> int:
    """How many samples after the first picture of a video its sound begins, by the file's clock; 0 without pictures."""
    cover = av.stream.Disposition.attached_pic
    pictures = next((each for each in container.streams.video if not each.disposition & cover), None)
    if pictures is None or pictures.start_time is None or first.pts is None:
        return 0
    return round((first.pts * first.time_base - pictures.start_time * pictures.time_base) * first.sample_rate)


def resample(waveform: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """A waveform (samples,) resampled from `rate` to `wanted` Hz; of a very short sound one sample stays."""
    if rate == wanted:
        return waveform
    resampled = soxr.resample(waveform, rate, wanted)  # librosa's default, without the start-up time of numba
    return resampled if len(resampled) else waveform[:1]


def fit_length(waveform: np.ndarray, length: int) -> np.ndarray:
    """Crop a waveform to `length` samples, or repeat and zero-pad it to them ("repeatpad" of laion_clap)."""
    if not len(waveform):
        raise ValueError("a sound without samples has no embedding")
    if len(waveform) < length:
        waveform = np.tile(waveform, length // len(waveform))
        waveform = np.pad(waveform, (0, length - len(waveform)))
    return waveform[:length]


def save_audio(path: str | Path, waveform: np.ndarray, sample_rate: int) -> None:
    """Write mono float samples in [-1, 1] as 16-bit PCM."""
    content = io.BytesIO()  # libsndfile does not say why it cannot write a file
    soundfile.write(content, waveform, sample_rate, subtype="PCM_16", format="WAV")
    with whole_file(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def loudness(waveform: np.ndarray) -> float:
    """Level in dB relative to full scale: RMS of the loudest 30% of blocks of 800 samples; silence is -120.

    Only the loud blocks count, so that a short bark and a long roar that are heard as equally loud measure the same.
    """
    block = 800  # 50 ms at 16 kHz
    blocks = np.resize(waveform, (max(len(waveform) // block, 1), block))
    rms = np.sqrt((blocks**2).mean(1))
    loud = np.sqrt((rms[rms >= np.quantile(rms, 0.7)] ** 2).mean())
    return 20 * float(np.log10(max(loud, 1e-6)))


def even_loudness(waveform: np.ndarray, level: float = LOUDNESS) -> np.ndarray:
    """The waveform scaled to `level` dB, or to a peak of 0.99 where that is quieter. SILENCE stays as it is."""
    heard = loudness(waveform)
    if heard <= SILENCE:
        return waveform
    louder = waveform * 10 ** ((level - heard) / 20)
    return louder * min(1.0, 0.99 / np.abs(louder).max())
