"""The evaluation of SoundWorld: its command, and whether the measures tell good methods from bad ones."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import soundfile
from conftest import unit_rows
from paper_weights import places
from scipy.linalg import sqrtm
from soundworld import SAMPLE_RATE, other_take, synthesise
from v2a_pretraining.data import SIZES

from v2a_utils import sound_files
from v2a_utils.__main__ import main
from v2a_utils.data.files import write_json
from v2a_utils.evaluation import clips as evaluated_clips
from v2a_utils.evaluation import run
from v2a_utils.evaluation.clips import Clips, world_clips
from v2a_utils.evaluation.features import stack_seeds
from v2a_utils.evaluation.run import Evaluation
from v2a_utils.evaluation.settings import COMPARED, METHODS, Settings, world_settings
from v2a_utils.mappers.registry import trained_mapper
from v2a_utils.models.backbones import RIGHT_FOR_IMAGEHEAR
from v2a_utils.models.networks import AudioCnn
from v2a_utils.models.vocoder import GriffinLimVocoder
from v2a_utils.models.weights import save_weights
from v2a_utils.stacks import stack as stacks

QUICK = Settings(**world_settings(quick=True))
PICTURES = 60


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder of their own for what is kept."""
    folder = tmp_path_factory.mktemp("evaluation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("V2A_CACHE", str(folder))
        patch.setattr(run, "TIMED", 1)
        yield folder


@pytest.fixture(scope="module")
def evaluation(stack, home):
    """The quick evaluation with more pictures."""
    return Evaluation(replace(QUICK, test_clips=PICTURES, work=str(home / "work")), stack)


# ------------------------------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def summary(stack, home):
    """A quick run of a true, a mapped and a swept method."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacks, "load_stack", lambda name=None, device=None: stack)
        patch.setattr(stack.generator, "vocoder", GriffinLimVocoder(iterations=1))  # how it sounds is not looked at
        assert main(["evaluate", "--quick", "--methods", "reference", "regression", "2 draws",
                     "--out", str(home / "out")]) == 0
    return home / "out"


def test_the_command_writes_every_measure_of_every_method_with_its_interval_and_backbone(summary, home):
    table = pd.read_csv(summary / "evaluation.csv")
    whole = table[table.label.isna()]
    assert set(whole.method) == {"reference", "regression", "2 draws"}
    assert {"FD", "FAD", "KAD", "KL softmax", "KL sigmoid", "IS", "CS", "accuracy", "diversity", "recall@10",
            "seconds a sound", "trained parameters"} <= set(whole.measure)
    assert (table.low <= table.value + 1e-6).all() and (table.value <= table.high + 1e-6).all()
    shares = table[table.measure.isin(["accuracy", "recall@10"])]
    assert (shares.low >= 0).all() and (shares.high <= 1).all() and (shares.low < shares.high).all()
    assert (table[table.measure.isin(["FD", "FAD", "diversity"])].low >= 0).all()
    assert whole[whole.measure == "FD"].backbone.eq("mini tagger").all()
    assert whole[whole.measure == "FAD"].backbone.eq("mini wav2clip").all()
    assert whole[whole.measure == "CS"].sample_rate.eq(16_000).all() and (whole.n > 0).all()
    assert set(whole[whole.method == "2 draws"].split) == {"sweep"}
    assert set(table[table.label.notna()].measure) == {"accuracy"}
    singles = pd.read_csv(summary / "singles.csv")
    assert len(singles) == 2 * (QUICK.test_clips + QUICK.picture_clips) * QUICK.seeds + QUICK.sweep_clips
    means = singles[singles.split == "test"].groupby("method")
    for measure, column in (("accuracy", "right"), ("CS", "CS")):
        found = whole[(whole.measure == measure) & (whole.split == "test")].set_index("method").value
        assert found.to_dict() == pytest.approx(means[column].mean().drop("2 draws", errors="ignore").to_dict(), rel=1e-5)
    assert len(pd.read_csv(summary / "sounds.csv")) == 2 * QUICK.test_clips
    assert json.loads((summary / "run.json").read_text())["settings"]["2 draws"].startswith('diffusion {"draws": 2}')


@pytest.mark.filterwarnings("ignore:a Fréchet distance")
def test_the_numbers_of_the_command_are_those_of_the_sounds(summary, stack):
    """FD of the reference row from SoundWorld's own sounds, by NumPy's and SciPy's formula."""
    scenes = world_clips(stack, "test", QUICK.real).scenes
    real = stack.tagger.features([synthesise(scene) for scene in scenes], SAMPLE_RATE)
    made = [stack.tagger.features([synthesise(other_take(scene, seed)) for scene in scenes[: QUICK.test_clips]],
                                  SAMPLE_RATE) for seed in range(QUICK.seeds)]
    table = pd.read_csv(summary / "evaluation.csv")
    row = table[(table.method == "reference") & (table.split == "test") & (table.measure == "FD")].iloc[0]
    expected = []
    for rows in made:
        first, second = (np.cov(cloud.astype(float), rowvar=False) for cloud in (rows, real))
        root = sqrtm(first @ second + 1e-9 * np.eye(len(first))).real
        expected.append(((rows.mean(0) - real.mean(0)) ** 2).sum() + np.trace(first + second - 2 * root))
    assert row.value == pytest.approx(np.mean(expected), rel=2e-2)


def test_the_committed_numbers_are_those_that_the_code_gives(stack, home):
    """The first sounds of the summary in the repository, made and measured anew: its numbers stay as they are."""
    settings = replace(QUICK, test_clips=16, seeds=1, steps=None, real=0, work=str(home / "again"),
                       methods=("reference", "regression"))
    again, committed = Evaluation(settings, stack), pd.read_csv(run.SUMMARY / "sounds.csv")
    again.plan()
    for name, near in (("reference", 1e-3), ("regression", 0.5)):  # rounding in a generator moves what it makes a little
        made = again.features("test", again.sounds(name, "test"))
        measured = again.measured(again.scorer("test"), made, "test")
        found = pd.DataFrame(again.singles(measured, made, "test"))
        known = committed[(committed.method == name) & (committed["index"] < 16)]
        assert list(found.right) == list(known.right) and len(known) == 16
        assert list(found.CS) == pytest.approx(list(known.CS), abs=near)
        assert list(found.loudness) == pytest.approx(list(known.loudness), abs=near)
        if name == "reference":
            assert list(found.pitch) == pytest.approx(list(known.pitch), rel=1e-3, nan_ok=True)
            assert list(found.events) == list(known.events)


def test_a_summary_names_its_weights_and_the_committed_one_those_that_are_shipped(stack, summary):
    committed, own = (json.loads((folder / "run.json").read_text())["weights"] for folder in (run.SUMMARY, summary))
    assert committed == Evaluation(QUICK, stack).weights()
    assert committed.pop("vocoder") != own.pop("vocoder") and committed == own  # the summary's was made by a quicker one


def test_differences_of_methods_are_paired(summary):
    table = pd.read_csv(summary / "differences.csv")
    assert set(zip(table.method, table.other)) == {pair for pair in COMPARED if set(pair) <= {"reference", "regression"}}
    singles = pd.read_csv(summary / "singles.csv")
    wide = singles[singles.split == "test"].pivot_table(index="id", columns="method", values="CS")
    apart = wide["regression"] - wide["reference"]
    row = table[(table.measure == "CS") & (table.split == "test") & (table.method == "regression")].iloc[0]
    assert row.value == pytest.approx(apart.mean(), rel=1e-4)
    assert row.high - row.value == pytest.approx(2.5706 * apart.std() / len(apart) ** 0.5, rel=1e-3)  # t, 5 degrees


def test_trained_parameters_are_those_of_the_method(summary, stack):
    table = pd.read_csv(summary / "evaluation.csv")
    count = table[table.measure == "trained parameters"].groupby("method").value.first()
    assert count["reference"] == 0
    assert count["2 draws"] == sum(p.numel() for p in trained_mapper(stack, "diffusion").parameters())


def test_the_gap_is_measured_for_every_method_against_the_true_sounds(summary):
    table = pd.read_csv(summary / "gap.csv").set_index(["method", "measure"])
    assert {name for name, _ in table.index} == {"reference", "regression"}  # no sweeps
    assert set(table.n[:, "cosine"]) == {QUICK.gap_clips}
    assert table.value["reference", "cosine"] > 0.8 and table.value["regression", "recall@10"] > 20 / QUICK.gap_clips


@pytest.mark.parametrize("arguments, message", [
    (["--methods", "magic"], "unknown method magic"), (["--n", "1"], "n is 1"), (["--seeds", "0"], "seeds is 0"),
    (["--methods", "words", "words"], "asked for twice"),
])
def test_bad_arguments_end_with_one_sentence(arguments, message, stack, home, monkeypatch, capsys):
    monkeypatch.setattr(stacks, "load_stack", lambda name=None, device=None: stack)
    assert main(["evaluate", "--quick", *arguments, "--out", str(home / "bad")]) == 2
    assert message in capsys.readouterr().err


def test_evaluate_writes_into_results_unless_it_is_told_where(stack, monkeypatch, home):
    written = []
    monkeypatch.setattr(stacks, "load_stack", lambda name=None, device=None: stack)
    monkeypatch.setattr(run, "evaluate", lambda settings, stack, overwrite: written.append(settings.summary) or [])
    assert main(["evaluate"]) == main(["evaluate", "--out", str(home)]) == 0
    assert [str(one) for one in written] == ["results/evaluation/mini", str(home)]


def test_what_a_stack_has_no_mapper_for_is_left_out_with_a_sentence(evaluation, monkeypatch, capsys):
    def no_mapper(stack, kind):
        raise ValueError(f"{kind}: no trained {kind} mapper")

    monkeypatch.setattr(evaluated_clips, "trained_mapper", no_mapper)
    planned = Evaluation(evaluation.settings, evaluation.stack)
    planned.plan()
    assert "no mapper" in planned.methods and not {"words", "regression, deep", "diffusion"} & set(planned.methods)
    assert "not measured: words (words: no trained words mapper)" in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------------------- on paper


@pytest.fixture(scope="module")
def paper(paper_folder):
    """A paper stack of random weights whose tagger has AudioSet's names, as PANNs has."""
    names = sorted({name for names in RIGHT_FOR_IMAGEHEAR.values() for name in names})
    config = {"sample_rate": 16_000, "n_fft": 512, "hop": 160, "mels": 64, "widths": [8, 8], "features": 16}
    for listener, known in (("tagger", names), ("vggish", [])):
        own = config | {"outputs": max(len(known), 1), "names": known}
        save_weights(AudioCnn(own), paper_folder / "extras" / listener / "model.safetensors")
        write_json(paper_folder / "extras" / listener / "config.json", own)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in places(paper_folder).items():
            patch.setenv(name, value)
        yield stacks.load_stack("paper", "cpu")


def small(out, methods, **more) -> Settings:
    return replace(QUICK, stack="paper", test_clips=4, picture_clips=4, sweep_clips=4, real=8, gap_clips=20,
                   work=str(out / "work"), out=str(out), methods=methods, **more)


def test_evaluate_runs_on_the_paper_stack_and_compares_classes_by_audiosets_names(paper, home, monkeypatch, tmp_path):
    for place in (run, sound_files):
        monkeypatch.setattr(place, "best_candidates", lambda stack, batch, settings, rank: (
            np.random.default_rng(settings.seed).normal(0, 0.1, (len(batch), 16_000)).astype(np.float32), None))
    monkeypatch.setattr(paper.generator, "sample_rate", SAMPLE_RATE)
    original = type(paper.tagger).classify

    def hears_the_first_picture(self, features):
        logits = original(self, features)
        logits[:, self.names.index(right_of_first)] += 1000
        return logits

    first = world_clips(paper, "test", 4).scenes[0].label
    right_of_first = RIGHT_FOR_IMAGEHEAR[first][0]
    monkeypatch.setattr(type(paper.tagger), "classify", hears_the_first_picture)
    table = run.evaluate(small(tmp_path, ("reference", "true CLAP embedding", "regression")), paper)
    by_class = table[(table.measure == "accuracy") & (table.split == "test")].set_index(["method", "label"]).value
    assert by_class["regression", first] == 1 and by_class["reference", ""] > 0
    run_file = (tmp_path / "run.json").read_text()
    assert json.loads(run_file)["stack"] == "paper" and str(tmp_path) not in run_file and str(home) not in run_file


def test_accuracy_is_left_out_with_a_sentence_where_the_tagger_has_no_class_in_common(paper, home, monkeypatch, capsys,
                                                                                     tmp_path):
    monkeypatch.setattr(paper.tagger, "names", [f"sound {number}" for number in range(len(paper.tagger.names))])
    table = run.evaluate(small(tmp_path, ("reference",)), paper)
    assert "not measured: accuracy" in capsys.readouterr().out and "accuracy" not in set(table.measure)
    assert pd.read_csv(tmp_path / "singles.csv").right.isna().all()


# -------------------------------------------------------------------------------------------------------- conditions


def test_sounds_of_one_configuration_are_not_taken_for_those_of_another(stack):
    """Griffin-Lim with 1 and with 32 iterations has the same weights."""
    keys = []
    for iterations in (1, 32):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stack.generator, "vocoder", GriffinLimVocoder(iterations=iterations))
            keys.append(sound_files.generator_key(stack))
    assert keys[0] != keys[1]


def test_maps_in_closed_form_see_the_pairs_that_the_mappers_were_trained_on(stack):
    assert world_settings()["train_clips"] == SIZES["train"]
    rows = unit_rows(40, 64)
    clips = Clips(stack, [""] * 40, [], rows, rows, lambda: (rows, rows[::-1].copy()))
    assert np.allclose(clips.conditions(METHODS["nearest neighbour"], 0), rows[::-1])


def test_another_process_knows_the_kept_sounds_again(stack, fresh):
    """A set that is printed in another order in each process would make every batch a new one."""
    assert fresh["key"] == sound_files.generator_key(stack)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.source != "real"])
def test_conditions_of_every_method_are_unit_norm_and_its_own(evaluation, name):
    clips = evaluation.clips("test")
    if reason := clips.missing(METHODS[name]):
        pytest.skip(reason)
    found = clips.conditions(METHODS[name], 0)
    assert found.shape == (PICTURES, evaluation.stack.generator.embed_dim)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-4)


# ---------------------------------------------------------------------------------------------------------- measures


def measured(evaluation, folder, sounds) -> dict:
    """Every measure of sounds (seeds, n, samples) for the evaluation's pictures."""
    clips, paths = evaluation.clips("test"), []
    for seed, waves in enumerate(sounds):
        for name, wave in zip(clips.ids, waves):
            paths.append(folder / f"{seed}-{name}.wav")
            soundfile.write(paths[-1], wave, SAMPLE_RATE)
    made = stack_seeds([evaluation.extractor.all(paths[start : start + PICTURES], clips.scenes).rows(slice(None), 0)
                        for start in range(0, len(paths), PICTURES)])
    scorer = evaluation.scorer("test")
    scores = (*scorer.scores(evaluation.measured(scorer, made, "test")), *evaluation.attributes(made, "test"))
    return {score.measure: score.interval for score in scores}


@pytest.fixture(scope="module")
def takes(evaluation, tmp_path_factory):
    """Two other takes of every scene's sound, and what is measured of them."""
    scenes = evaluation.clips("test").scenes
    sounds = [np.stack([synthesise(other_take(scene, seed)) for scene in scenes]) for seed in range(2)]
    return sounds, measured(evaluation, tmp_path_factory.mktemp("takes"), sounds)


def test_measures_know_true_sounds_from_sounds_of_other_pictures(evaluation, takes, tmp_path):
    good, bad = takes[1], measured(evaluation, tmp_path, [np.roll(one, 1, axis=0) for one in takes[0]])
    for name in ("accuracy", "CS", "recall@10", "size → pitch", "distance → loudness"):
        assert good[name].value > bad[name].value, name
    for name in ("KL softmax", "KL sigmoid"):
        assert good[name].value < bad[name].value, name
    for name in ("FD", "KAD"):
        assert good[name].value == pytest.approx(bad[name].value)  # they compare clouds, not pairs
    assert good["diversity"].value == pytest.approx(bad["diversity"].value)


def test_noise_is_far_from_true_sounds(evaluation, takes, tmp_path):
    sounds = np.stack([synthesise(scene) for scene in evaluation.clips("test").scenes])
    noise = [np.random.default_rng(seed).normal(0, 0.1, sounds.shape).astype(np.float32) for seed in range(2)]
    true = measured(evaluation, tmp_path, [sounds] * 2)
    found, other = measured(evaluation, tmp_path, noise), takes[1]
    for name in ("FD", "FAD", "KAD", "KL softmax"):
        assert found[name].low > other[name].high > other[name].value > true[name].value - 1e-3, name
    assert true["KL softmax"].value == pytest.approx(0, abs=1e-3) and true["diversity"].value == pytest.approx(0, abs=1e-6)
