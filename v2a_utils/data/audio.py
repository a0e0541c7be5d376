"""Sound files: read, resampled, written, and brought to a common loudness."""

import io
import math
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr

from v2a_utils.data.files import complaint, write_file
from v2a_utils.data.media import moving_pictures, open_film

SOUNDS = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".aif", ".aiff", ".wma", ".au", ".caf",
          ".w64", ".ac3", ".amr", ".mka", ".mp2"}
HEARING_RATE = 16_000  # Hz, AudioLDM's: every sound goes through this rate on its way to CLAP, whatever CLAP's own is
LOUDNESS = -20.0  # dB relative to full scale (RMS of the loud parts), of every sound that is written or played
GAP, JUMP = 0.03, 600.0  # seconds between two pieces of a sound that are silence; more is a clock that was set anew
STILL = 2e-4  # peak to peak: what stays below -80 dB is no sound
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
    """As `_read_samples`, the channels averaged: (samples, 1); by the file's clock, with silence in its gaps."""
    with open_film(path) as container:
        stream, pictures = container.streams.best("audio"), moving_pictures(container)
        if stream is None:
            return np.zeros((0, 1), np.float32), 1
        rate = stream.codec_context.sample_rate
        wanted = math.inf if seconds is None else math.ceil(seconds * rate)
        origin = None if pictures is None or pictures.start_time is None else pictures.start_time * pictures.time_base
        blocks, have, early, form, as_floats = [], 0, 0, None, None
        for frame in container.decode(stream):
            if frame.pts is not None:
                begins = frame.pts * frame.time_base
                origin = begins if origin is None else origin
                late = round((begins - origin) * rate) - have
                if not blocks and late < 0:  # what comes before the first picture is cut in the end
                    have, early = late, -late
                elif (GAP * rate if blocks else 0) < late < JUMP * rate:
                    blocks.append(np.zeros(late, np.float32))
                    have += late
            if form != (form := (frame.format.name, frame.layout.name, frame.sample_rate)):  # broadcasts change it
                as_floats = av.AudioResampler("fltp", frame.layout, rate)
            blocks += (heard := [block.to_ndarray().mean(0) for block in as_floats.resample(frame)])
            have += sum(map(len, heard))
            if have >= wanted:
                break
    waveform = np.concatenate(blocks or [np.zeros(0, np.float32)])[early:]
    return waveform[: min(wanted, len(waveform)), None], rate


def audible(waveform: np.ndarray, path: str | Path) -> np.ndarray:
    """The waveform (samples,) that was read from a file; ValueError for one that is silent or constant."""
    if np.ptp(waveform) < STILL:
        raise ValueError(f"{path}: silent or constant as far as it was read")
    return waveform


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


def save_audio(path: str | Path, waveform: np.ndarray, sample_rate: int, subtype: str = "PCM_16") -> None:
    """Write mono float samples in [-1, 1] as WAV or FLAC, by the path's suffix."""
    content = io.BytesIO()  # libsndfile does not say why it cannot write a file
    soundfile.write(content, waveform, sample_rate, subtype, format=Path(path).suffix[1:].upper())
    write_file(path, content.getvalue())


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
