"""One figure style for every notebook: one colour each for vision, audio and mapped, safe for colour-blind readers.

Functions draw on axes that they are given; titles say a finding, so the notebook that computed it writes them.
"""

import os
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from transformers.audio_utils import hertz_to_mel, mel_to_hertz

from v2a_utils.metrics.sounds import Interval
from v2a_utils.models.mel import magnitudes, mel_filters

VISION, AUDIO, MAPPED, NEUTRAL = "#0072B2", "#E69F00", "#009E73", "#595959"  # Okabe and Ito's, and a grey
MARKERS = {VISION: "o", AUDIO: "^", MAPPED: "s", NEUTRAL: "x"}  # a second cue beside the colour
MELS = 64
DYNAMIC = 70.0  # dB shown below a spectrogram's loudest point
TICKS = (125, 250, 500, 1000, 2000, 4000, 8000)  # Hz


def use_style() -> None:
    """The style of every figure; also keeps libraries' warnings about other libraries out of the notebook."""
    plt.rcParams.update({
        "figure.dpi": 90, "savefig.dpi": 90, "figure.constrained_layout.use": True, "font.size": 10,
        "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
        "image.cmap": "magma", "axes.prop_cycle": plt.cycler(color=[VISION, AUDIO, MAPPED, NEUTRAL]),
    })
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*torch.meshgrid.*")


def save_figure(figure: Figure, name: str) -> None:
    """Write a figure as <name>.svg, text as text, into the folder that V2A_FIGURES names; nothing without it."""
    if folder := os.environ.get("V2A_FIGURES"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        with plt.rc_context({"svg.fonttype": "none"}):
            figure.savefig(Path(folder) / f"{name}.svg")


def spectrogram(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """Log-mel power in dB below the loudest point, (MELS, frames) with a frame every 10 ms, of (samples,)."""
    hop = sample_rate // 100
    n_fft = 2 ** round(np.log2(6.4 * hop))
    power = magnitudes(torch.from_numpy(np.asarray(waveform, np.float32))[None], n_fft, hop)[0] ** 2
    mel = (mel_filters(sample_rate, n_fft, MELS, 0, sample_rate / 2) @ power).clamp(min=1e-10).numpy()
    return 10 * np.log10(mel / mel.max())


def show_spectrogram(ax, waveform: np.ndarray, sample_rate: int, title: str = ""):
    """Mel spectrogram over seconds and Hz; returns the image, for a colour bar in dB below the loudest point."""
    seconds = len(waveform) / sample_rate
    image = ax.imshow(spectrogram(waveform, sample_rate), origin="lower", aspect="auto", vmin=-DYNAMIC, vmax=0,
                      extent=(0, seconds, 0, MELS), interpolation="nearest")
    top = sample_rate / 2
    centres = mel_to_hertz(np.linspace(0, hertz_to_mel(top, "slaney"), MELS + 2), "slaney")
    ticks = [hertz for hertz in TICKS if hertz <= top][::2]
    ax.set_yticks(np.interp(ticks, centres, np.arange(MELS + 2) - 0.5), [f"{hertz:,}" for hertz in ticks])
    ax.set(title=title, xlabel="time (s)", ylabel="frequency (Hz, mel scale)")
    return image


def show_picture(ax, picture: Image.Image, title: str = "") -> None:
    """A picture without axes."""
    ax.imshow(picture)
    ax.set_title(title)
    ax.set_axis_off()


def show_embedding(ax, embedding: np.ndarray, colour: str, title: str = "") -> None:
    """The numbers of one embedding (d,) as bars."""
    ax.bar(np.arange(len(embedding)), embedding, color=colour, width=0.9)
    ax.axhline(0, color="black", linewidth=0.6)
    ax.set(title=title, xlabel="dimension", ylabel="value (no unit)")
    ax.margins(x=0.01)


def show_intervals(ax, intervals: dict[str, Interval], colours: str | list[str], title: str = "") -> None:
    """A dot for each name with its 95% interval, names from top to bottom."""
    names = list(intervals)
    colours = [colours] * len(names) if isinstance(colours, str) else colours
    for row, ((value, low, high, _), colour) in enumerate(zip(intervals.values(), colours)):
        ax.plot([low, high], [row, row], color=colour, linewidth=2)
        ax.plot(value, row, MARKERS.get(colour, "o"), color=colour, markersize=7)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_title(title)
    ax.grid(axis="x", alpha=0.3)


def show_points(ax, groups: dict[str, tuple[np.ndarray, str]], title: str = "") -> None:
    """Points in the plane by modality: name -> ((n, 2), colour)."""
    for name, (points, colour) in groups.items():
        ax.scatter(*points.T, s=14, color=colour, marker=MARKERS.get(colour, "o"), alpha=0.7, label=name)
    ax.set_title(title)
    ax.legend()
