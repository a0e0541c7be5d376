"""`reproduce`, `evaluate --data` and what notebook 07 reads: on a small export of SoundWorld, with one step."""

import json

import nbformat
import numpy as np
import pytest
import soundfile
from conftest import ROOT, halves, sine
from nbclient import NotebookClient
from paper_weights import places

from v2a_utils.__main__ import main
from v2a_utils.data.files import write_json
from v2a_utils.evaluation import reproduction, scoring, sound_files
from v2a_utils.evaluation.reproduced import NOT_MEASURED, ablation, beside_paper, paper_form, to_fill
from v2a_utils.evaluation.reproduction import Reproduction
from v2a_utils.evaluation.results import Results, claims
from v2a_utils.evaluation.settings import read_settings
from v2a_utils.models.backbones import AudioCnn
from v2a_utils.models.weights import save_weights
from v2a_utils.stacks import extraction
from v2a_utils.stacks import stack as stacks

pytestmark = [pytest.mark.filterwarnings("ignore:a Fréchet distance"), pytest.mark.usefixtures("hasty_vocoder")]
FILMS, TEST, PICTURES = 56, 11, 4
CONFIG = """
videos = "{folder}/vggsound.csv"
clips = "{folder}"
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
    assert main(["world", "--format", "vggsound", "--out", str(folder), "--count", str(FILMS)]) == 0
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
        patch.setattr(reproduction, "TIMED", 1)
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
    assert set(results.efficiency.pairs) == {12} and set(results.sounds.method) == set(results.find("FD").index)


def test_what_was_left_out_is_said_with_its_reason(results):
    assert "no trained flow mapper" in results.run["left_out"]["flow"]
    table = to_fill(results).set_index(NOT_MEASURED)
    assert "sweep of steps" in table.index and table["what fills it"].str.contains("reproduce").all()


def test_a_second_run_makes_nothing_and_says_the_same(results, folder, stack, monkeypatch):
    for place, name in ((reproduction, "train_on_pairs"), (reproduction, "best_candidates"),
                        (reproduction, "words_bridge"), (sound_files, "best_candidates"), (scoring.Extractor, "_extract"), (extraction.Preparation, "__call__")):
        monkeypatch.setattr(place, name, None)
    again = Reproduction(read_settings(folder / "config.toml", out=str(folder / "again")), stack).run()
    assert np.allclose(again.value, results.table.value, rtol=1e-4)
    first, second = (folder / place / "differences.csv" for place in ("again", "work/summary"))
    assert first.read_text() == second.read_text()


def test_the_engine_ray_takes_extraction_and_generation(results, folder, stack, monkeypatch):
    asked = []
    on_ray = pytest.importorskip("v2a_utils.stacks.extraction_on_ray")
    for place, own, what in ((on_ray, extraction, "extraction"), (sound_files, sound_files, "generation")):
        monkeypatch.setattr(place, "run_on_ray", lambda *given, own=own, what=what: asked.append(what) or own.run_here(*given))
    made = Reproduction(read_settings(folder / "config.toml", engine="ray"), stack)
    made.plan()
    made.sounds("regression", "ood")
    assert set(asked) == {"extraction", "generation"}


def test_other_settings_do_not_mix_with_what_is_there(results, folder, stack):
    with pytest.raises(ValueError, match="made with other clips or settings"):
        Reproduction(read_settings(folder / "config.toml", training={"steps": 21}), stack).mapper("regression")


def test_a_missing_listener_costs_the_scores_and_a_sentence(results, folder, stack, monkeypatch, capsys):
    original = type(stack).place
    monkeypatch.setattr(type(stack), "place", lambda self, part: original(self, part) if part != "wav2clip" else
                        (_ for _ in ()).throw(ValueError("no Wav2CLIP there; fetch it")))
    settings = read_settings(folder / "config.toml", out=str(folder / "less"), pictures="nowhere")
    assert Reproduction(settings, stack).run().empty
    said = capsys.readouterr().out
    assert "not measured: sounds (no Wav2CLIP there; fetch it)" in said and "not measured: pictures (nowhere" in said
    less = Results.read(folder / "less")
    assert len(less.gap) and (paper_form(less).drop(["reference", "true CLAP embedding"]) == NOT_MEASURED).all(axis=None)


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
    assert ours.loc["diffusion", "FD ↓ (VGG)"] == NOT_MEASURED and ours.loc["reference", "CS ↑ (ImageHear)"] == "–"
    value = results.interval("regression", "CS", "ood").value
    assert ours.loc["regression", "CS ↑ (ImageHear)"].startswith(f"{value:.3g} [")


def test_claims_are_judged_by_the_existing_rule(results):
    verdicts = claims(results)
    assert verdicts.index.str.match(r"\d\.").all() and (verdicts.verdict == "not measured").any()


# ------------------------------------------------------------------------------------------------------ evaluate --data


def test_own_clips_are_embedded_trained_on_sounded_and_evaluated_by_commands_alone(tmp_path, stack, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stacks, "load_stack", lambda name=None, device=None: stack)
    monkeypatch.setenv("V2A_CACHE", str(tmp_path))
    monkeypatch.setattr(reproduction, "TIMED", 1)
    (tmp_path / "clips").mkdir()
    for number in range(24):
        halves((255 - 10 * number, 0, 0), (0, 0, 10 * number)).save(tmp_path / "clips" / f"clip_{number}.png")
        soundfile.write(tmp_path / "clips" / f"clip_{number}.wav", sine(200 + 100 * number), 16_000)
    write_json(tmp_path / "quick.json", {"train": {"steps": 40, "batch_size": 8}})
    for command in ("embed clips --out store --splits 40 20 40",
                    "train store --mapper regression --config quick.json --out mine",
                    "sound clips/clip_3.png --mapper mine --steps 1 --candidates 1 --out sounds",
                    "evaluate --data store --methods reference mine --quick --out scores"):
        assert main(command.split()) == 0, command
    assert "mine" in capsys.readouterr().out and (tmp_path / "sounds" / "clip_3.wav").is_file()
    found = Results.read(tmp_path / "scores")
    assert {"FD", "FAD", "CS"} <= set(found.table[found.table.method == "mine"].measure)
    assert found.interval("reference", "FD").value == pytest.approx(0, abs=1e-3)
    assert main(["evaluate", "--clips", "clips"]) == 2 and "--clips is for --data" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------------- the notebook


def test_the_notebook_runs_on_a_summary_of_the_paper_stack_without_a_change(folder, paper_folder, tmp_path, monkeypatch):
    config = {"sample_rate": 16_000, "n_fft": 512, "hop": 160, "mels": 64, "widths": [8, 8], "features": 16, "outputs": 1,
              "names": []}
    save_weights(AudioCnn(config), paper_folder / "extras" / "vggish" / "model.safetensors")
    write_json(paper_folder / "extras" / "vggish" / "config.json", config)
    environment = places(paper_folder) | {"V2A_REPRODUCTION": str(tmp_path / "summary"), "PYTHONPATH": str(ROOT)}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for place in (reproduction, sound_files):
        monkeypatch.setattr(place, "best_candidates", lambda stack, rows, options, rank: (
            np.random.default_rng(options.seed).normal(0, 0.1, (len(rows), 16_000)).astype(np.float32), None))
    settings = read_settings(folder / "config.toml", stack="paper", work=str(tmp_path / "work"), mappers=(),
                             methods=("reference", "no mapper", "regression", "diffusion"), train_clips=12,
                             out=str(tmp_path / "summary"), sweeps={"guidance": (1,)}, sweep_mapper="diffusion")
    Reproduction(settings, stacks.load_stack("paper", "cpu")).run()
    notebook = nbformat.read(ROOT / "notebooks" / "deeper" / "07_reproduction.ipynb", 4)
    done = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(ROOT / "notebooks" / "deeper")}}).execute()
    shown = json.dumps(done.cells)
    assert "stack paper" in shown and NOT_MEASURED in shown
