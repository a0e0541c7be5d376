"""`reproduce`, `evaluate --data` and what notebook 07 reads: on a small export of SoundWorld, with one step."""

import json

import nbformat
import numpy as np
import pytest
import soundfile
from conftest import ROOT, halves, sine
from nbclient import NotebookClient
from paper_weights import make_framewise, places
from soundworld import layouts

from v2a_utils import sound_files
from v2a_utils.__main__ import main
from v2a_utils.data.files import write_json
from v2a_utils.evaluation import features, run
from v2a_utils.evaluation.results import (
    NOT_MEASURED,
    Results,
    ablation,
    beside_paper,
    claims,
    few_note,
    paper_form,
    to_fill,
)
from v2a_utils.evaluation.run import Evaluation, evaluate
from v2a_utils.evaluation.settings import Settings, read_settings
from v2a_utils.stacks import extraction
from v2a_utils.stacks import stack as stacks

pytestmark = [pytest.mark.filterwarnings("ignore:a Fréchet distance"), pytest.mark.usefixtures("hasty_vocoder")]
FILMS, TEST, PICTURES = 56, 11, 4
CONFIG = """
videos = "{folder}/films/vggsound.csv"
clips = "{folder}/films"
pictures = "{folder}/imagehear"
work = "{folder}/work"
methods = ["reference", "no mapper", "nearest neighbour", "regression", "flow"]
mappers = ["regression"]
sweep_mapper = "regression"
train_clips = 24
steps = 1
sweep_clips = 4
draws = 10
training = {{steps = 20, warmup = 2}}
sweeps = {{guidance = [1], aggregate = ["first"], size = {{wide = {{expansion = 8}}}}, pairs = [12]}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Films and pictures of SoundWorld in the paper's form, a configuration, and caches of their own."""
    folder = tmp_path_factory.mktemp("reproduction")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layouts, "FRAME_RATE", 4)  # one frame a second is looked at, and 25 take a minute to draw
        assert main(["world", "--format", "vggsound", "--out", str(folder / "films"), "--count", str(FILMS)]) == 0
    assert main(["world", "--format", "imagehear", "--out", str(folder / "imagehear"), "--count", str(PICTURES)]) == 0
    (folder / "config.toml").write_text(CONFIG.format(folder=folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("V2A_CACHE", str(folder / "cache"))
        patch.setattr(extraction, "DECODERS", 0)
        yield folder


@pytest.fixture(scope="module")
def results(folder, stack, hasty_vocoder):
    """The summary of a run that was killed among its sounds and went on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacks, "load_stack", lambda name=None, device=None: stack)
        patch.setattr(run, "TIMED", 1)
        written, original = [], sound_files.write_sound

        def until_killed(path, wave, rate):
            written.append(path)
            if len(written) == TEST + 3:
                raise KeyboardInterrupt
            original(path, wave, rate)

        patch.setattr(sound_files, "write_sound", until_killed)
        assert main(["reproduce", str(folder / "config.toml")]) == 130
        assert main(["reproduce", str(folder / "config.toml")]) == 0
        assert written[TEST + 3] == written[TEST]  # the batch that was not whole is made again, no other
    return Results.read(folder / "work" / "summary")


# ----------------------------------------------------------------------------------------------------------- the steps


def test_every_row_has_the_papers_columns_with_n_interval_and_backbone(results):
    whole = results.table[results.table.label.isna()]
    test, ood = (whole[whole.split == split] for split in ("test", "ood"))
    assert set(test.method) == {"reference", "no mapper", "nearest neighbour", "regression"}
    assert set(ood.method) == {"no mapper", "nearest neighbour", "regression"}
    assert {"FD", "FAD", "CS", "seconds a sound", "trained parameters"} <= set(test.measure)
    assert {"CS", "accuracy", "seconds a sound"} <= set(ood.measure)
    assert not {"FD", "FAD", "KL softmax"} & set(ood.measure)
    assert set(test.n) == {TEST} and set(ood.n) == {PICTURES}
    measured = test[~test.measure.isin(["seconds a sound", "trained parameters"])]
    assert (measured.low <= measured.value).all() and (measured.value <= measured.high).all()
    assert measured.backbone.notna().all()
    assert results.interval("reference", "FD").value == pytest.approx(0, abs=1e-3)
    assert results.interval("reference", "KL softmax").value == pytest.approx(0, abs=1e-3)
    assert results.interval("regression", "FD").value > 10


def test_sweeps_stand_beside_the_tables_own_setting(results):
    for group, setting in {"guidance": "1", "aggregate": "first", "size": "wide", "pairs": "12"}.items():
        found = ablation(results, group)
        assert len(found) == 2 and setting in found.index and found.index.str.endswith("*").sum() == 1, group
        assert found.FD.nunique() == 2, group
    assert ablation(results, "steps").empty
    wide, usual = ablation(results, "size")["trained parameters"]
    assert max(wide, usual) > 1.5 * min(wide, usual)
    assert set(results.sounds.method) == set(results.find("FD").index)


def test_what_was_left_out_is_said_with_its_reason(results):
    assert "no trained flow mapper" in results.run["left_out"]["flow"]
    table = to_fill(results).set_index(NOT_MEASURED)
    assert "sweep of steps" in table.index and table["what fills it"].str.contains("reproduce").all()


def test_a_second_run_makes_nothing_and_says_the_same(results, folder, stack, monkeypatch):
    for place, name in ((run, "train_on_pairs"), (run, "best_candidates"),
                        (run, "words_bridge"), (sound_files, "best_candidates"), (features.Extractor, "_extract"), (extraction.Preparation, "__call__")):
        monkeypatch.setattr(place, name, None)
    again = Evaluation(read_settings(folder / "config.toml", out=str(folder / "again")), stack).run()
    assert np.allclose(again.value, results.table.value, rtol=1e-4)
    first, second = (folder / place / "differences.csv" for place in ("again", "work/summary"))
    assert first.read_text() == second.read_text()


def test_the_engine_ray_takes_extraction_and_generation(results, folder, stack, monkeypatch):
    asked = []
    on_ray = pytest.importorskip("v2a_utils.stacks.extraction_on_ray")
    for place, own, what in ((on_ray, extraction, "extraction"), (sound_files, sound_files, "generation")):
        monkeypatch.setattr(place, "run_on_ray", lambda *given, own=own, what=what: asked.append(what) or own.run_here(*given))
    made = Evaluation(read_settings(folder / "config.toml", engine="ray"), stack)
    made.plan()
    made.sounds("regression", "ood")
    assert set(asked) == {"extraction", "generation"}


def test_other_settings_neither_mix_with_what_is_there_nor_are_blocked_by_it(results, folder, stack):
    first, other = (Evaluation(read_settings(folder / "config.toml", training={"steps": steps, "warmup": 2}), stack)
                    for steps in (20, 21))
    assert first.mapper("regression") != other.mapper("regression")
    again = Evaluation(read_settings(folder / "config.toml", training={"steps": 21, "warmup": 2}), stack)
    assert again.mapper("regression") == other.mapper("regression")


def test_a_missing_listener_costs_the_scores_and_a_sentence(results, folder, stack, monkeypatch, capsys):
    original = type(stack).place
    monkeypatch.setattr(type(stack), "place", lambda self, part: original(self, part) if part != "wav2clip" else
                        (_ for _ in ()).throw(ValueError("no Wav2CLIP there; fetch it")))
    settings = read_settings(folder / "config.toml", out=str(folder / "less"), pictures="nowhere")
    assert Evaluation(settings, stack).run().empty
    said = capsys.readouterr().out
    assert "not measured: sounds (no Wav2CLIP there; fetch it)" in said and "not measured: pictures (nowhere" in said
    less = Results.read(folder / "less")
    assert len(less.gap) and (paper_form(less) == NOT_MEASURED).all(axis=None)


# -------------------------------------------------------------------------------------------------------- bad settings


@pytest.mark.parametrize("text, message", [
    ("clips = 'a'", "names no videos"), ("videos = 3", "videos is 3"), ("videos", "not a TOML"),
    ("videos = 'a'\nmagic = 1", "unknown magic"), ("videos = 'a'\nseeds = 0", "seeds is 0"),
    ("videos = 'a'\nmethods = ['magic']", "unknown method magic"),
    ("videos = 'a'\nengine = 'cloud'", "unknown engine cloud"),
    ("videos = 'a'\n[sweeps]\nmagic = [1]", "unknown sweep magic"),
    ("videos = 'a'\nmappers = ['none']", "unknown mapper none"),
    ("videos = 'a'\n[training]\nmagic = 1", "unknown training magic"),
    ("videos = 'a'\nguidance = 'x'", "guidance is 'x'"),
    ("videos = 'a'\ndraws = 1", "draws is 1"), ("videos = 'a'\nsteps = 0", "steps is 0"),
    ("videos = 'a'\nscheduler = 'magic'", "scheduler is magic"),
    ("videos = 'a'\naggregate = 'max'", "unknown aggregate"),
    ("videos = 'a'\n[sweeps]\nguidance = [99]", "guidance is 99"),
    ("videos = 'a'\n[sweeps]\nsize = [1]", "tables of sizes"),
    ("videos = 'a'\n[sweeps]\nsteps = 5", "a list of values"), ("videos = 'nowhere.csv'", "give --clips FOLDER"),
    ("videos = 'nowhere'", "neither a folder nor"),
])
def test_a_configuration_that_does_not_fit_is_refused_in_a_sentence(text, message, tmp_path, capsys):
    (tmp_path / "config.toml").write_text(text)
    assert main(["reproduce", str(tmp_path / "config.toml")]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


@pytest.mark.parametrize("name", ["mini", "paper", "published"])
def test_the_shipped_configurations_can_be_read(name):
    assert read_settings(ROOT / "data" / f"reproduction_{name}.toml").stack == name.replace("published", "paper")


# ------------------------------------------------------------------------------------------------ the summary read back


def test_the_summary_stands_beside_the_papers_own_numbers(results):
    table = beside_paper(results)
    assert table.loc[("the paper's", "V2A-Mapper"), "FD ↓ (VGG)"] == "24.168"
    ours = table.loc["here, mini"]
    assert list(ours.index) == ["reference", "no mapper", "nearest neighbour", "regression", "flow"]  # asked for
    assert ours.loc["flow", "FD ↓ (films of SoundWorld)"] == NOT_MEASURED and ours.loc["reference", "CS ↑ (pictures of SoundWorld)"] == "–"
    assert ours.loc["regression", "FD ↓ (films of SoundWorld)"].count("*") == 1 and len(few_note(results)) == 1
    value = results.interval("regression", "CS", "ood").value
    assert ours.loc["regression", "CS ↑ (pictures of SoundWorld)"].startswith(f"{value:.3g} [")


def test_claims_are_judged_by_the_existing_rule(results):
    verdicts = claims(results)
    assert verdicts.index.str.match(r"\d\.").all() and (verdicts.verdict == "not measured").any()


# ------------------------------------------------------------------------------------------------------ evaluate --data


@pytest.fixture
def own_clips(tmp_path, stack, monkeypatch):
    """A folder of 24 pictures with sounds, and commands that run beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stacks, "load_stack", lambda name=None, device=None: stack)
    monkeypatch.setenv("V2A_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(run, "TIMED", 1)
    (tmp_path / "clips").mkdir()
    for number in range(24):
        halves((255 - 10 * number, 0, 0), (0, 0, 10 * number)).save(tmp_path / "clips" / f"clip_{number}.png")
        soundfile.write(tmp_path / "clips" / f"clip_{number}.wav", sine(200 + 100 * number), 16_000)
    write_json(tmp_path / "quick.json", {"train": {"steps": 40, "batch_size": 8}})
    return tmp_path


def test_own_clips_are_embedded_trained_on_sounded_and_evaluated_by_commands_alone(own_clips, capsys):
    for command in ("embed clips --out store --splits 40 20 40",
                    "train store --mapper regression --config quick.json --out mine",
                    "sound clips/clip_3.png --mapper mine --steps 1 --candidates 1 --out sounds",
                    "evaluate --data store --methods reference mine regression --quick --out scores",
                    "evaluate --data store --methods reference mine --n 7 --out scores"):  # the quick one blocks nothing
        assert main(command.split()) == 0, command
    said = capsys.readouterr().out
    assert "mine" in said and (own_clips / "sounds" / "clip_3.wav").is_file()
    assert "(VGG)" not in said and "(ImageHear)" not in said and "(clips)" in said and "VGGSound" not in said
    assert "regression (of the stack mini)" in said and "not measured here" not in said
    assert said.count("clips are few for a Fréchet distance") == 2  # once a run
    assert not list(own_clips.glob("results/**/*.flac"))
    found = Results.read(own_clips / "scores")
    assert {"FD", "FAD", "KAD", "CS"} <= set(found.table[found.table.method == "mine"].measure)
    assert found.interval("reference", "FD").value == pytest.approx(0, abs=1e-3)
    assert set(found.table[found.table.label.isna()].n) == {7}
    assert main(["evaluate", "--clips", "clips"]) == 2 and "--clips is for --data" in capsys.readouterr().err


def test_a_folder_of_pairs_is_evaluated_as_it_is(own_clips):
    for number in range(24, 90):
        for suffix in (".png", ".wav"):
            (own_clips / "clips" / f"clip_{number}{suffix}").write_bytes(
                (own_clips / "clips" / f"clip_{number % 24}{suffix}").read_bytes())
    assert main(["evaluate", "--data", "clips", "--methods", "reference", "words", "--quick", "--out", "scores"]) == 0
    assert set(Results.read(own_clips / "scores").find("FD").index) == {"reference", "words"}


def test_a_mapper_that_was_trained_on_the_test_clips_is_refused(own_clips, capsys):
    for command in ("embed clips --out all --splits 60 40 0", "embed clips --out store --splits 40 20 40",
                    "train all --mapper regression --config quick.json --out mine"):
        assert main(command.split()) == 0, command
    assert main(["evaluate", "--data", "store", "--methods", "mine", "--quick", "--out", "scores"]) == 2
    assert "was trained on" in capsys.readouterr().err and not (own_clips / "scores").exists()


@pytest.mark.slow
def test_rows_of_a_sweep_are_those_of_the_same_clips_whatever_an_aggregate_skips(own_clips, stack, monkeypatch):
    """A film whose later frames are damaged: the mean skips it, the first frame does not."""
    main(["world", "--format", "vggsound", "--out", "films", "--count", "56"])
    damaged, original = {}, extraction.Preparation.clip

    def clip(self, source):
        if source.split == "test" and not damaged:
            damaged[source.id] = True
        if self.options.aggregate == "mean" and source.id in damaged:
            raise ValueError(f"{source.id}: a frame is damaged")
        return original(self, source)

    monkeypatch.setattr(extraction, "DECODERS", 0)
    monkeypatch.setattr(extraction, "lane_count", lambda device: 1)
    monkeypatch.setattr(extraction.Preparation, "clip", clip)
    settings = Settings("films/vggsound.csv", "films", work="work", mappers=(), methods=("words",), test_clips=8,
                        sweep_clips=6, sweeps={"aggregate": ("first",)})
    evaluation = Evaluation(settings, stack)
    ids = evaluation.clips("test").ids
    assert len(ids) == 8 and not set(ids) & set(damaged)
    assert evaluation.clips("sweep").ids == evaluation.clips("sweep", "first").ids == ids[:6]
    assert len(evaluation.store("videos", "first").numpy("id", "test")) == 1 + len(evaluation.tested)
    first = evaluation.clips("sweep", "first")
    known = dict(zip(evaluation.store("videos", "first").numpy("id"), evaluation.store("videos", "first").numpy("visual")))
    assert all(np.array_equal(known[name], row) for name, row in zip(first.ids, first.visual))


def test_fewer_test_clips_than_a_sweep_asks_for_are_all_of_them(own_clips, stack):
    store = "store"
    assert main(["embed", "clips", "--out", "store", "--splits", "40", "20", "40"]) == 0
    settings = Settings(store, work="work", mappers=(), methods=("reference", "words"), test_clips=5, sweep_clips=8,
                        steps=1, draws=10, sweeps={"guidance": (1,)}, sweep_mapper="words")
    table = evaluate(settings, stack)
    assert set(table[table.split == "sweep"].method) == {"reference", "words", "guidance 1"}
    assert set(table.n) == {5}


def test_two_methods_of_one_name_have_sounds_of_their_own(own_clips, stack):
    for command in ("embed clips --out store --splits 40 20 40",
                    "train store --mapper regression --config quick.json --out other/regression"):
        assert main(command.split()) == 0, command
    table = evaluate(Settings("store", work="work", mappers=(), methods=("regression", "other/regression"), steps=1,
                              draws=10, test_clips=4), stack)
    values = table[table.measure == "KL softmax"].set_index("method").value
    assert set(values.index) == {"regression", "other/regression"} and values.nunique() == 2


def test_a_training_that_fails_fails_the_run(own_clips, stack, monkeypatch):
    assert main(["embed", "clips", "--out", "store", "--splits", "40", "20", "40"]) == 0

    def fails(*given):
        raise ValueError("the loss is no number")

    monkeypatch.setattr(run, "train_on_pairs", fails)
    with pytest.raises(ValueError, match="the loss is no number"):
        evaluate(Settings("store", work="work", mappers=("regression",), methods=("regression",)), stack)


# --------------------------------------------------------------------------------------------------------- the notebook


@pytest.mark.slow
def test_the_notebook_runs_on_a_summary_of_the_paper_stack_without_a_change(folder, paper_folder, tmp_path, monkeypatch):
    make_framewise(paper_folder)
    environment = places(paper_folder) | {"V2A_REPRODUCTION": str(tmp_path / "summary"), "PYTHONPATH": str(ROOT)}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for place in (run, sound_files):
        monkeypatch.setattr(place, "best_candidates", lambda stack, rows, options, rank: (
            np.random.default_rng(options.seed).normal(0, 0.1, (len(rows), 16_000)).astype(np.float32), None))
    settings = read_settings(folder / "config.toml", stack="paper", work=str(tmp_path / "work"), mappers=(),
                             methods=("reference", "no mapper", "regression", "diffusion"), train_clips=12,
                             out=str(tmp_path / "summary"), sweeps={"guidance": (1,)}, sweep_mapper="diffusion")
    Evaluation(settings, stacks.load_stack("paper", "cpu")).run()
    notebook = nbformat.read(ROOT / "notebooks" / "deeper" / "07_reproduction.ipynb", 4)
    done = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(ROOT / "notebooks" / "deeper")}}).execute()
    shown = json.dumps(done.cells)
    assert "stack paper" in shown and NOT_MEASURED in shown
