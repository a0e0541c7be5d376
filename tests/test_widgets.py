"""The panels: what they show at once, and what their controls change."""

import base64
import io
import re
from datetime import datetime

import ipywidgets
import nbformat
import numpy as np
import pytest
import soundfile
from IPython.display import Video
from nbclient import NotebookClient
from PIL import Image
from soundworld import SAMPLE_RATE, draw, events, film, make_scene, synthesise
from soundworld.layouts import mp4

from v2a_utils import widgets
from v2a_utils.pipeline import SoundOptions, picture_to_sound, video_to_sound


@pytest.fixture
def shown(monkeypatch):
    """Everything that is displayed, in order."""
    things = []
    monkeypatch.setattr(widgets, "display", things.append)
    return things


def test_the_panel_over_a_projection_answers_at_once_and_again_for_another_scene(shown, monkeypatch):
    scenes = [make_scene("test", index) for index in range(5)]
    sounds = np.eye(5, dtype=np.float32)
    mapped = np.roll(sounds, 1, axis=0)  # scene k lands on the sound of scene k - 1
    planes = {name: np.random.default_rng(0).normal(size=(5, 2)) for name in ("pictures", "sounds", "mapped")}
    asked = []
    real = widgets.cards
    monkeypatch.setattr(widgets, "cards", lambda pictures, waves, rate, titles: asked.append(titles) or
                        real(pictures, waves, rate, titles))
    widgets.explore_panel(scenes, sounds, mapped, planes)
    assert asked[0][1] == f"nearest: {' and '.join(scenes[4].labels)}"
    number, colouring = shown[0].children[0].children
    number.value = 3
    assert asked[1][1] == f"nearest: {' and '.join(scenes[2].labels)}"
    for choice in colouring.options:
        colouring.value = choice
    assert len(asked) >= 2 + len(colouring.options) - 1
    assert isinstance(shown[0].children[1], ipywidgets.Output)


# ------------------------------------------------------------------------------------------------ the panel of sounds


QUICK = SoundOptions(mapper="regression", steps=1, candidates=1, seconds=1.0)


class Panel:
    """The controls of an upload panel by their names."""

    def __init__(self, stack, shown):
        self.examples = {"one": draw(make_scene("test", 0)), "two": draw(make_scene("test", 1))}
        widgets.upload_panel(stack, self.examples, QUICK)
        first, controls, last, _, self.history = shown[0].children
        self.source, self.upload, self.note = first.children
        self.mapper, self.steps, self.guidance, self.seed = controls.children
        self.button, self.bar, self.sync = last.children

    @property
    def entries(self) -> list[str]:
        return re.findall("<b>(.*?)</b>", self.history.value)

    @property
    def saved(self) -> np.ndarray:
        """The newest sound as its link saves it."""
        content = re.search('href="data:audio/wav;base64,(.*?)"', self.history.value)[1]
        return soundfile.read(io.BytesIO(base64.b64decode(content)), dtype="float32")[0]


@pytest.fixture
def panel(stack, shown) -> Panel:
    return Panel(stack, shown)


def test_the_panel_shows_an_answer_at_once_where_no_front_end_runs(panel, shown, capsys):
    assert len(shown) == 3  # the panel, a figure and a player
    assert panel.entries == []


def test_every_control_of_the_panel_changes_the_sound_and_the_last_sounds_stay(panel, stack):
    panel.button.click()
    before = panel.saved
    sound = picture_to_sound(stack, [panel.examples["one"]], QUICK)
    assert np.abs(before - sound.waveform).max() < 1e-3 and panel.bar.value == panel.bar.max == 1
    changes = {"source": "two", "mapper": "none", "steps": 3, "guidance": 6.0, "seed": 7}
    for number, (name, value) in enumerate(changes.items(), start=2):
        getattr(panel, name).value = value
        panel.button.click()
        assert np.abs(panel.saved - before).max() > 1e-3, name
        assert len(panel.entries) == number and not panel.button.disabled
        before = panel.saved
    assert "none, 3 steps, guidance 6, seed 7" in panel.entries[0] and panel.bar.value == 3
    for seed in range(widgets.HISTORY):
        panel.seed.value = seed
        panel.button.click()
    assert len(panel.entries) == widgets.HISTORY
    names = re.findall('download="(.*?)"', panel.history.value)
    assert len(set(names)) == len(names)


def test_a_second_press_makes_no_second_sound_and_says_why(panel):
    panel.button.click()
    panel.button.click()
    assert len(panel.entries) == 1 and panel.note.value == widgets.SAME
    panel.source.value = "two"
    panel.button.click()
    assert len(panel.entries) == 2 and panel.note.value == widgets.ASK


def test_an_uploaded_picture_is_sounded_and_what_is_none_is_said_in_a_sentence(panel, stack, capsys):
    def give(name: str, content: bytes):
        panel.upload.value = ({"name": name, "type": "", "size": len(content), "content": content,
                               "last_modified": datetime.now()},)
        panel.button.click()

    panel.source.value = widgets.UPLOAD
    panel.button.click()
    assert "choose a picture" in capsys.readouterr().out and panel.entries == []
    panel.source.value = "one"
    give("broken.png", b"no picture")
    assert "broken.png" in capsys.readouterr().out and panel.entries == [] and not panel.button.disabled
    assert panel.note.value == "broken.png (0 kB) is here"
    panel.button.click()  # not taken for a second press: it is said again
    assert "broken.png" in capsys.readouterr().out
    buffer = io.BytesIO()
    Image.new("RGB", (50, 50), "red").save(buffer, "PNG")
    give("red.png", buffer.getvalue())
    assert len(panel.entries) == 1 and panel.source.value == widgets.UPLOAD
    expected = picture_to_sound(stack, [Image.new("RGB", (50, 50), "red")], QUICK)
    assert np.abs(panel.saved - expected.waveform).max() < 1e-3


def test_an_uploaded_video_sounds_in_time_if_that_is_asked_for(panel, stack, shown, tmp_path):
    scene = next(scene for index in range(100) if len(events(scene := make_scene("test", index))) > 2)
    (tmp_path / "own.mp4").write_bytes(mp4(film(scene), 25, synthesise(scene), SAMPLE_RATE))
    content = (tmp_path / "own.mp4").read_bytes()
    panel.upload.value = ({"name": "own.mp4", "type": "", "size": len(content), "content": content,
                           "last_modified": datetime.now()},)
    panel.button.click()
    once = panel.saved
    panel.sync.value = True
    panel.button.click()  # no second press: it asks for something else
    wanted = video_to_sound(stack, tmp_path / "own.mp4", QUICK, sync=True).waveform
    assert len(panel.entries) == 2 and "in time" in panel.entries[0] and "in time" not in panel.entries[1]
    assert len(panel.saved) == len(wanted) > len(once)
    assert np.abs(panel.saved - wanted).max() < 1e-3
    assert isinstance(shown[-1], Video) and not any(isinstance(each, Video) for each in shown[:-1])


# ---------------------------------------------------------------------------------------------------------- findings


@pytest.fixture
def told(monkeypatch):
    """The bundles that findings display."""
    bundles = []
    monkeypatch.setattr(widgets, "display", lambda bundle, raw: bundles.append(bundle))
    return bundles


def test_a_finding_that_holds_is_a_sentence_whose_condition_can_be_opened(told):
    low, rows = 0.12, np.array([1, 2])
    widgets.finding(f"The gap is <open>, {low:.1f}.", low > 0.1, rows.max() == 2)
    bundle, = told
    assert bundle["text/plain"] == "The gap is <open>, 0.1."
    sentence, folded = bundle["text/html"].split("<details")
    assert "The gap is &lt;open&gt;, 0.1." in sentence
    assert "low &gt; 0.1" in folded and "rows.max() == 2" in folded and "The gap" not in folded


def test_a_finding_that_fails_stops_the_execution_and_says_which_condition(told):
    low = -1
    with pytest.raises(AssertionError, match=r"The gap is open.*because this is false: low > 0$"):
        widgets.finding("The gap is open.", low < 5, low > 0)
    assert not told


def test_on_another_stack_a_finding_that_fails_is_said(told):
    names = {"finding": widgets.finding, "STACK": "paper", "low": -1}
    exec('finding("The gap is open.", low > 0)', names)
    assert told[0]["text/plain"] == "Not found on the stack paper: The gap is open."
    with pytest.raises(AssertionError, match="no longer found"):
        exec('finding("The gap is open.", low > 0)', names | {"STACK": "mini"})


def test_what_no_measurement_could_fail_is_no_condition(told):
    for hopeless in (lambda: widgets.finding("Anything goes."), lambda: widgets.finding("Anything goes.", True),
                     lambda: widgets.finding("Anything goes.", np.ones(2) > 0)):
        with pytest.raises(ValueError, match="Anything goes"):
            hopeless()
    assert not told


def test_a_notebook_shows_the_finding_and_its_condition_and_stops_where_it_fails():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (
        "from v2a_utils.widgets import finding\nfd = 2.5", 'finding(f"FD is {fd}.", fd < 3)', 'finding("No.", fd < 2)')])
    client = NotebookClient(notebook, allow_errors=True)
    client.execute()
    shown, failed = (cell.outputs[0] for cell in notebook.cells[1:])
    assert shown.data["text/plain"] == "FD is 2.5." and "fd &lt; 3" in shown.data["text/html"]
    assert failed.ename == "AssertionError" and "fd < 2" in failed.evalue
