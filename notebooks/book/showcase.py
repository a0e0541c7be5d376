"""The figures and sounds of README and book, made anew by one command: `make figures`.

Everything shown is drawn, computed or read from the evaluation's summary; nothing is written down here but words.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from soundworld import SAMPLE_RATE, draw, make_scene, synthesise

from v2a_utils.data.files import whole_file, write_file
from v2a_utils.evaluation.figures import audit_matrix, claims_poster
from v2a_utils.evaluation.results import Results, headline
from v2a_utils.evaluation.run import SUMMARY
from v2a_utils.metrics.sounds import rate_interval
from v2a_utils.pipeline import map_embeddings
from v2a_utils.plotting import AUDIO, MAPPED, NEUTRAL, VISION, show_picture, show_points, show_spectrogram, use_style
from v2a_utils.stacks.stack import Stack, load_stack
from v2a_utils.widgets import encode_mp3

SHOWN = ("dog", "bells", "train", "frog", "cow", "trumpet")  # at most four of them are shown


# -------------------------------------------------------------------------------------------------------- the idea


def idea() -> Figure:
    """The whole system as a drawing: what is frozen, what is trained, and where the gap lies."""
    figure, ax = plt.subplots(figsize=(9, 2.6))
    ax.set(xlim=(0, 91), ylim=(1, 27))
    ax.set_axis_off()
    top, low = 22, 6
    _box(ax, 1, top, 11, "picture\nor video", "white", "black")
    _box(ax, 19, top, 11, "CLIP\n(frozen)", VISION)
    _box(ax, 43, top, 13, "mapper\n(trained)", MAPPED)
    _box(ax, 67, top, 12, "AudioLDM\n(frozen)", AUDIO, "black")
    _box(ax, 1, low, 11, "sound", "white", "black")
    _box(ax, 19, low, 11, "CLAP\n(frozen)", AUDIO, "black")
    for start, stop in ((12, 19), (30, 43), (56, 67), (79, 85)):
        _arrow(ax, (start, top), (stop, top))
    _arrow(ax, (12, low), (19, low))
    ax.text(85.3, top, "sound", va="center", weight="bold")
    ax.text(36.5, top + 1.2, "visual\nembedding", ha="center", color=VISION, fontsize=9)
    ax.text(61.5, top + 1.2, "audio\nembedding", ha="center", color="#8A5F00", fontsize=9)
    ax.add_patch(FancyArrowPatch((30, low), (49.5, top - 4.2), connectionstyle="angle,angleA=0,angleB=90,rad=2",
                                 arrowstyle="-|>", mutation_scale=13, color=NEUTRAL, linestyle="--"))
    ax.text(51, low + 2, "while training: the embedding of the true\nsound shows the mapper where to go",
            color="#555555", fontsize=9, va="center")
    ax.annotate("", (34, 15.5), (65, 15.5), arrowprops={"arrowstyle": "<->", "color": "black"})
    ax.text(58, 13.2, "the domain gap", ha="center", fontsize=9)
    return figure


def _box(ax, left: float, middle: float, width: float, text: str, colour: str, ink: str = "white") -> None:
    ax.add_patch(FancyBboxPatch((left + 0.6, middle - 3.4), width - 1.2, 6.8, boxstyle="round,pad=0.6",
                                facecolor=colour, edgecolor="black", linewidth=0.8))
    ax.text(left + width / 2, middle, text, ha="center", va="center", color=ink, weight="bold")


def _arrow(ax, start: tuple, stop: tuple) -> None:
    ax.add_patch(FancyArrowPatch(start, stop, arrowstyle="-|>", mutation_scale=13, color="black", shrinkA=1, shrinkB=1))


# ------------------------------------------------------------------------------------------- the gap, and the sounds


def gap(stack: Stack, count: int, seed: int) -> Figure:
    """Pictures and sounds of `count` test scenes in one UMAP plane, before the mapper and after it.

    The plane is fitted once, on CLIP's and CLAP's embeddings together; mapped pictures are placed into it.
    """
    from umap import UMAP  # slow to load, and no other figure needs it

    scenes = [make_scene("test", index, seed) for index in range(count)]
    visual = stack.vision.embed_images([draw(scene) for scene in scenes])
    audio = stack.audio.embed_audio([synthesise(scene) for scene in scenes], SAMPLE_RATE)
    mapped = map_embeddings(stack, visual, "diffusion", seed)
    plane = UMAP(n_neighbors=min(15, count - 1), metric="cosine", random_state=seed, n_jobs=1).fit(
        np.concatenate([visual, audio]))
    sounds = plane.embedding_[count:]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.9), sharex=True, sharey=True)
    labels = np.array([scene.label for scene in scenes])
    for ax, points, placed, colour, name in (
        (axes[0], visual, plane.embedding_[:count], VISION, "before the mapper"),
        (axes[1], mapped, plane.transform(mapped), MAPPED, "after the mapper"),
    ):
        right = rate_interval(labels[(points @ audio.T).argmax(1)] == labels)
        show_points(ax, {f"pictures, {name}": (placed, colour), "sounds (CLAP)": (sounds, AUDIO)},
                    f"{name}: the nearest sound is of the right kind\n"
                    f"for {right.value:.0%} of {count} pictures (95%: {right.low:.0%} to {right.high:.0%})")
        ax.set(xlabel="UMAP 1 (no unit)")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    axes[0].set_ylabel("UMAP 2 (no unit)")
    figure.suptitle("Pictures and their sounds in one plane", fontsize=11)
    return figure


def pictures_with_sounds(stack: Stack, seed: int) -> tuple[Figure, dict[str, np.ndarray]]:
    """A row of pictures over the spectrograms of the sounds made from them; and these sounds (samples,) by name."""
    first = {}
    for scene in (make_scene("test", index, seed) for index in range(300)):
        if len(scene.things) == 1:
            first.setdefault(scene.label, scene)
    scenes = [first[label] for label in SHOWN if label in first][:4]
    visual = stack.vision.embed_images([draw(scene) for scene in scenes])
    made = stack.generator.generate(map_embeddings(stack, visual, "diffusion", seed), seed=seed)
    rate = stack.generator.sample_rate
    figure, axes = plt.subplots(2, len(scenes), figsize=(9, 4.6), sharey="row", height_ratios=(1.25, 1), squeeze=False)
    for column, (scene, wave) in enumerate(zip(scenes, made)):
        show_picture(axes[0, column], draw(scene), scene.label)
        image = show_spectrogram(axes[1, column], wave, rate)
        axes[1, column].set_ylabel("frequency (Hz)" if column == 0 else "")
    figure.colorbar(image, ax=axes[1, -1], label="dB below loudest")
    figure.suptitle("Pictures that the system never saw, and the sounds that it made for them", fontsize=11)
    return figure, {scene.label: wave for scene, wave in zip(scenes, made)}


# --------------------------------------------------------------------------------------------------- all of it, written


def show(out: Path, summary: Path, count: int, seed: int) -> list[Path]:
    """Write all figures and sounds into `out`; returns their paths."""
    use_style()
    stack, results = load_stack("mini"), Results.read(summary)
    row, sounds = pictures_with_sounds(stack, seed)
    figures = {"idea.svg": idea(), "gap.png": gap(stack, count, seed), "sounds.png": row,
               "measures.svg": audit_matrix(pd.read_csv(summary / "audit.csv")),
               "claims.svg": claims_poster(results, headline(results, pd.read_csv(summary / "order.csv")).sentence)}
    out.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        with whole_file(out / name) as temporary, plt.rc_context({"svg.hashsalt": name}):
            figure.savefig(temporary, format=name[-3:], dpi=110, facecolor="white",
                           metadata={"Date": None} if name.endswith("svg") else {})
        plt.close(figure)
    for name, wave in sounds.items():
        write_file(out / f"{name}.mp3", encode_mp3(wave, stack.generator.sample_rate))
    return [out / name for name in (*figures, *(f"{name}.mp3" for name in sounds))]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/figures"), help="folder of the figures")
    parser.add_argument("--summary", type=Path, default=SUMMARY, help="folder of the evaluation's summary")
    parser.add_argument("--count", type=int, default=300, help="scenes in the drawing of the gap")
    parser.add_argument("--seed", type=int, default=0, help="of scenes and sounds")
    options = parser.parse_args()
    paths = show(options.out, options.summary, options.count, options.seed)
    for path in paths:
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
