"""What a reader touches in a notebook: players beside pictures, and a panel for a picture of the reader's own.

Sounds are embedded as MP3 (10 to 18 kB for SoundWorld's 2.56 s, a wav has 82 kB): every current browser plays it, and
a notebook with a dozen players stays small. Code hosts show the pictures but drop the players; run the cell to listen.
"""

import ast
import base64
import html
import io
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import executing
import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import soundfile
from IPython.display import HTML, Audio, Video, display
from PIL import Image
from soundworld import CLASSES, SAMPLE_RATE, Scene, draw, synthesise

from v2a_utils.data.audio import even_loudness
from v2a_utils.data.media import kind_of, load_frames, put_sound
from v2a_utils.pipeline import Sound, SoundOptions, mapper_choices, picture_to_sound, settle, video_to_sound
from v2a_utils.plotting import AUDIO, MAPPED, MARKERS, VISION, show_picture, show_spectrogram
from v2a_utils.stacks.stack import Stack

UPLOAD, SYNC = "my upload", "in time with a video"
CARD = 170  # pixels, width of a picture in a row of cards
MEASURED_ON = "mini"  # the stack whose numbers the sentences of the lessons are bound to


def encode_mp3(waveform: np.ndarray, sample_rate: int, even: bool = True) -> bytes:
    """A waveform (samples,) as MP3, at the loudness that all of the notebooks' sounds share unless `even` is False."""
    buffer = io.BytesIO()
    heard = even_loudness(waveform) if even else waveform
    soundfile.write(buffer, heard, sample_rate, format="MP3", subtype="MPEG_LAYER_III")
    return buffer.getvalue()


def player(waveform: np.ndarray, sample_rate: int) -> Audio:
    """A player of one sound (samples,), at equal loudness."""
    audio = Audio(data=encode_mp3(waveform, sample_rate))
    audio.mimetype = "audio/mpeg"  # IPython takes any bytes for wav
    return audio


def cards(pictures: list[Image.Image], waveforms: list[np.ndarray], sample_rate: int, titles: list[str],
          downloads: list[str] | None = None) -> HTML:
    """A row of pictures, each with its title above and the player of its sound below.

    `downloads` are names of wav files: each sound gets a link that saves it, 16-bit and at the loudness it plays at.
    """
    links = [_wav_link(wave, sample_rate, name) for wave, name in zip(waveforms, downloads or [])]
    row = "".join(
        f'<div style="width:{CARD + 60}px;margin:4px;line-height:1.4"><b>{html.escape(title)}</b><br>'
        f'<img width="{CARD}" src="data:image/png;base64,{_png(picture)}" alt="{html.escape(title)}"><br>'
        f'<audio controls aria-label="{html.escape(title)}" style="width:{CARD + 50}px" src="data:audio/mpeg;base64,'
        f'{base64.b64encode(encode_mp3(waveform, sample_rate)).decode()}"></audio>{link}</div>'
        for picture, waveform, title, link in zip(pictures, waveforms, titles, links or [""] * len(titles))
    )
    return HTML(f'<div style="display:flex;flex-wrap:wrap">{row}</div>')


def _wav_link(waveform: np.ndarray, sample_rate: int, name: str) -> str:
    buffer = io.BytesIO()
    soundfile.write(buffer, even_loudness(waveform), sample_rate, format="WAV", subtype="PCM_16")
    content = base64.b64encode(buffer.getvalue()).decode()
    return (f'<br><a download="{html.escape(name)}" href="data:audio/wav;base64,{content}" '
            f'style="text-decoration:underline;overflow-wrap:anywhere">save {html.escape(name)}</a>')


def _png(picture: Image.Image) -> str:
    small, buffer = picture.copy(), io.BytesIO()
    small.thumbnail((CARD, CARD))
    small.quantize(128).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def show_sound(stack: Stack, frames: list[Image.Image], options: SoundOptions, progress=None,
               video: Path | None = None) -> Sound:
    """Make the sound of `frames` and display picture, spectrogram, player and what the tagger hears; returns it.

    With their `video` it is the sound of the whole of it, in time with what happens, and the film is played with it.
    """
    sound = (video_to_sound(stack, video, options, sync=True) if video
             else picture_to_sound(stack, frames, options, progress))
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.8), width_ratios=(1, 2))
    show_picture(left, frames[0])
    heard = ", ".join(f"{name} {share:.0%}" for name, share in sound.heard)
    title = f"The tagger hears: {heard}" if heard else "The sound; there is no tagger to say what it hears"
    show_spectrogram(right, sound.waveform, sound.sample_rate, title)
    display(figure)
    plt.close(figure)
    display(_film(video, sound) if video else player(sound.waveform, sound.sample_rate))
    if sound.look.chosen:
        seen = ", ".join(f"{name} {share:.0%}" for name, share in sound.look.seen)
        print(f"CLIP does not know such pictures, so classifiers of photographs looked: {seen}. Chosen: "
              f"{sound.look.chosen[0]}, {sound.look.chosen[1]:.0%}. Words did the rest.")
    elif sound.out_of_distribution:
        print("This picture is unlike those that the stack was trained on: do not trust its sound.")
    return sound


def _film(video: Path, sound: Sound) -> Video:
    """A player of a video with a new sound."""
    with tempfile.TemporaryDirectory() as folder:
        put_sound(video, target := Path(folder) / "film.mp4", sound.waveform, sound.sample_rate)
        return Video(target.read_bytes(), embed=True, mimetype="video/mp4", width=2 * CARD)


HISTORY = 8  # sounds that a panel keeps
ASK = "a picture or a video, at most 10 MB"  # Jupyter's connection carries no larger message
SAME = "The same picture with the same settings gives the same sound, the one that is there. Change something first."
WIDTHS = {"picture": 330, "mapper": 230, "steps": 150, "guidance": 150, "seed": 190}  # pixels, label and field


def _row(*controls: ipywidgets.Widget) -> ipywidgets.HBox:
    """Controls side by side; where the notebook is narrow, the row breaks and no control is cut."""
    for control in controls:
        control.layout.flex, control.layout.max_width = "0 1 auto", "98%"
        if control.description in WIDTHS:
            control.layout.width, control.style.description_width = f"{WIDTHS[control.description]}px", "70px"
    return ipywidgets.HBox(controls, layout=ipywidgets.Layout(flex_flow="row wrap"))


class UploadPanel:
    """Makes the sound of an example or of a picture or video that the reader uploads; see `upload_panel`."""

    def __init__(self, stack: Stack, examples: dict[str, Image.Image], options: SoundOptions):
        self.stack, self.examples, self.given, self.options = stack, examples, options, settle(stack, options)
        mappers = list(dict.fromkeys([*mapper_choices(stack), self.options.mapper]))
        self.upload = ipywidgets.FileUpload(accept="image/*,video/*", multiple=False, description="upload")
        self.source = ipywidgets.Dropdown(options=[*examples, UPLOAD], description="picture")
        self.controls = {
            "mapper": ipywidgets.Dropdown(options=mappers, value=self.options.mapper),
            "steps": ipywidgets.BoundedIntText(self.options.steps, min=1, max=200),
            "guidance": ipywidgets.BoundedFloatText(self.options.guidance, min=0, max=10, step=0.5),
            "seed": ipywidgets.BoundedIntText(self.options.seed, min=0, max=2**32 - 1),
        }
        for name, control in self.controls.items():
            control.description = name
        self.sync = ipywidgets.Checkbox(False, description=SYNC, indent=False)
        self.button = ipywidgets.Button(description="make a sound", button_style="primary")
        self.bar, self.note = ipywidgets.IntProgress(), ipywidgets.HTML(ASK)
        self.answer, self.history = ipywidgets.Output(), ipywidgets.HTML()
        self.kept: list[tuple[Image.Image, np.ndarray, str, str]] = []
        self.newest = None  # what the newest sound was made from
        self.button.on_click(self.make)
        self.upload.observe(self._arrived, "value")

    def widget(self) -> ipywidgets.VBox:
        """The controls, the answer and the last sounds, one below the other."""
        return ipywidgets.VBox([_row(self.source, self.upload, self.note), _row(*self.controls.values()),
                                _row(self.button, self.bar, self.sync), self.answer, self.history])

    def _arrived(self, _) -> None:
        if self.upload.value:
            file = self.upload.value[-1]
            self.note.value = f"{html.escape(file['name'])} ({file['size'] / 1e3:,.0f} kB) is here"
            self.source.value = UPLOAD

    def make(self, _=None) -> None:
        """Make the sound that the controls ask for; one sentence where it cannot be made, and nothing is lost."""
        shown = replace(self.given, **{name: control.value for name, control in self.controls.items()})
        picture = self.upload.value if self.source.value == UPLOAD else self.source.value
        asked = picture, shown, self.sync.value and self.source.value == UPLOAD
        if self.newest == asked:  # also a second press while the first one's sound was being made
            self.note.value = SAME
            return
        # the reader kept the default mapper, so photographs may still go to their classifier
        wanted = replace(shown, mapper=self.given.mapper) if shown.mapper == self.options.mapper else shown
        self.button.disabled, self.bar.max, self.bar.value, self.newest = True, wanted.steps, 0, None
        self.answer.clear_output()
        with self.answer:
            try:
                self._keep(*self._show(picture, wanted), shown)
                self.newest, self.note.value = asked, ASK
            except ValueError as error:  # what the reader gave cannot be used: no traceback
                print(error)
            finally:
                self.button.disabled = False

    def _show(self, picture: str | tuple, options: SoundOptions) -> tuple[Image.Image, Sound, bool]:
        """Make and display the sound of an example by its name, or of an upload.

        Returns the first picture, the sound, and whether it is in time with a video.
        """
        def progress(done: int, steps: int) -> None:
            self.bar.value = done

        if self.source.value != UPLOAD:
            return self.examples[picture], show_sound(self.stack, [self.examples[picture]], options, progress), False
        with _uploaded(picture) as path:
            frames, timed = load_frames(path), self.sync.value and kind_of(path) == "video"
            return frames[0], show_sound(self.stack, frames, options, progress, path if timed else None), timed

    def _keep(self, picture: Image.Image, sound: Sound, timed: bool, options: SoundOptions) -> None:
        self.kept = [(picture, sound.waveform, *_titles(options, sound, timed)), *self.kept][:HISTORY]
        pictures, waves, titles, names = zip(*self.kept)
        self.history.value = cards(pictures, waves, sound.sample_rate, titles, names).data


def upload_panel(stack: Stack, examples: dict[str, Image.Image], options: SoundOptions = SoundOptions()) -> None:
    """Display a panel that makes the sound of an example or of a picture or video that the reader uploads.

    The last sounds stay below, to be compared and saved as wav. Under the panel the first example's sound is shown at
    once, so that there is something to see where no front end runs. The mappers on offer are the stack's and the
    one of `options`, which may be a folder.
    """
    panel = UploadPanel(stack, examples, options)
    display(panel.widget())
    name, picture = next(iter(examples.items()))
    print(f"What the panel shows, for the example {name!r}, the {panel.options.mapper} mapper and seed "
          f"{panel.options.seed}:")
    show_sound(stack, [picture], panel.options)


def _titles(options: SoundOptions, sound: Sound, timed: bool) -> tuple[str, str]:
    """What stands above a sound of the history, and the name of its file."""
    settings = (f"{options.mapper}, {options.steps} steps, guidance {options.guidance:g}, seed {options.seed}"
                f"{', in time' if timed else ''}")
    name = (f"{Path(options.mapper).name}-steps{options.steps}-guidance{options.guidance:g}-seed{options.seed}"
            f"{'-in-time' if timed else ''}.wav")
    if not sound.heard:
        return settings, f"sound-{name}"
    heard, share = sound.heard[0]
    return f"{settings}: {heard} {share:.0%}", f"{heard}-{name}"


CAUSES = ("size", "count", "distance", "hue", "timbre", "tempo")  # of a scene's main thing


def explore_panel(scenes: list[Scene], audio: np.ndarray, mapped: np.ndarray, planes: dict[str, np.ndarray]) -> None:
    """Display a panel over a projection: choose a scene, see where its points lie, hear the sounds nearest to it.

    `audio` and `mapped` are embeddings (n, d) of the scenes' sounds and mapped pictures; `planes` has the projected
    points (n, 2) of "pictures", "sounds" and "mapped". Below the panel the first scene's answer is shown at once.
    """
    number = ipywidgets.BoundedIntText(0, min=0, max=len(scenes) - 1, description="scene")
    colouring = ipywidgets.Dropdown(options=("modality", "class", *CAUSES), description="colour by")
    answer = ipywidgets.Output()

    def show(_=None) -> None:
        answer.clear_output(wait=True)
        with answer:
            show_neighbours(scenes, audio, mapped, planes, number.value, colouring.value)

    for control in (number, colouring):
        control.observe(show, "value")
    display(ipywidgets.VBox([_row(number, colouring), answer]))
    print("What the panel shows for scene 0:")
    show_neighbours(scenes, audio, mapped, planes, 0, "class")


def show_neighbours(scenes: list[Scene], audio: np.ndarray, mapped: np.ndarray, planes: dict[str, np.ndarray],
                    number: int, colouring: str, neighbours: int = 3) -> None:
    """One scene on the projection (see `explore_panel`), with players of its own sound and of those nearest to it."""
    near = np.argsort(-(audio @ mapped[number]))[:neighbours]
    figure, ax = plt.subplots(figsize=(7, 4))
    _scatter(ax, scenes, planes, colouring)
    places = {"picture": (planes["pictures"][number], VISION), "mapped": (planes["mapped"][number], MAPPED),
              "its sound": (planes["sounds"][number], AUDIO)}
    for name, (place, colour) in places.items():
        ax.plot(*place, MARKERS[colour], color=colour, markersize=13, markeredgecolor="black", label=name)
    ax.plot(*planes["sounds"][near].T, "*", color="black", markersize=9, label="nearest sounds")
    ax.set(title=f"scene {number}, {' and '.join(scenes[number].labels)}", xlabel="UMAP 1 (no unit)",
           ylabel="UMAP 2 (no unit)")
    ax.legend(bbox_to_anchor=(1, 1), loc="upper left", fontsize=8)
    display(figure)
    plt.close(figure)
    shown = [scenes[number], *(scenes[row] for row in near)]
    titles = ["its picture and sound", *(f"nearest: {' and '.join(scenes[row].labels)}" for row in near)]
    display(cards([draw(scene) for scene in shown], [synthesise(scene) for scene in shown], SAMPLE_RATE, titles))


def _scatter(ax, scenes: list[Scene], planes: dict[str, np.ndarray], colouring: str) -> None:
    """All points of a projection by modality, by class or by a visible or invisible cause of the main thing."""
    things = [scene.things[0] for scene in scenes]
    for name, mark in (("pictures", VISION), ("sounds", AUDIO)):
        style = {"s": 10, "marker": MARKERS[mark], "alpha": 0.6, "linewidths": 0}
        if colouring == "modality":
            ax.scatter(*planes[name].T, color=mark, label=name, **style)
        elif colouring == "class":
            ax.scatter(*planes[name].T, c=[CLASSES.index(thing.name) for thing in things], cmap="tab20", **style)
        else:
            ax.scatter(*planes[name].T, c=[getattr(thing, colouring) for thing in things], cmap="viridis", **style)


@contextmanager
def _uploaded(files: tuple) -> Iterator[Path]:
    """The file in a FileUpload's value, for as long as it is needed; ValueError when there is none or it is damaged."""
    if not files:
        raise ValueError("Press 'upload' and choose a picture or a video first.")
    file = files[-1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(file["name"]).name
        path.write_bytes(file["content"])
        try:
            yield path
        except ValueError as error:  # the reader knows the file by its name, not by where it lay for a moment
            raise ValueError(str(error).replace(str(path), path.name)) from error


def check(holds: Callable[[], bool], hint: str) -> bool:
    """Say whether an answer holds, and give the hint if not. An answer whose check fails with an error does not."""
    try:
        right = bool(holds())
    except Exception:  # a student's answer may be anything, even the dots of an empty cell
        right = False
    print("✓ This holds." if right else f"✗ Not yet. {hint}")
    return right


def finding(sentence: str, *holds: bool) -> None:
    """Display what was found as a sentence, with the code of its conditions to open.

    `holds` are comparisons of what was measured. AssertionError where one of them fails, so that no sentence outlives
    its numbers; only where the caller's STACK is not the one that the lessons were measured on is it said instead.
    ValueError for a condition like `True`, which no measurement could fail.
    """
    caller = sys._getframe(1)
    call, stack = executing.Source.executing(caller).node, caller.f_globals.get("STACK", MEASURED_ON)
    conditions = [ast.unparse(condition) for condition in call.args[1:]] if call else []
    if not holds or any(isinstance(ast.parse(text, mode="eval").body, ast.Constant) for text in conditions):
        raise ValueError(f"{sentence!r} needs a condition that its numbers could fail")
    if unsettled := [one for one in holds if not isinstance(one, (bool, np.bool_))]:
        raise ValueError(f"{sentence!r}: a condition is true or false, not {unsettled[0]!r}")
    if not all(holds):
        failed = [text for text, one in zip(conditions, holds) if not one]
        if stack == MEASURED_ON:
            raise AssertionError(f"no longer found: {sentence!r}, because this is false: {'; '.join(failed)}")
        sentence = f"Not found on the stack {stack}: {sentence}"
    code = "".join(f"<pre><code>{html.escape(text)}</code></pre>" for text in conditions)
    display({"text/plain": sentence, "text/html": (
        f'<div class="finding" style="border-left:4px solid {MAPPED};padding:0.4em 0.8em;margin:0.4em 0">'
        f'<b>{html.escape(sentence)}</b><details style="font-size:85%"><summary>holds as long as</summary>'
        f"{code}</details></div>")}, raw=True)
