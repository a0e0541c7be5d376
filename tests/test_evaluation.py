"""The evaluation: its command, what a kill leaves, and whether the measures tell good methods from bad ones."""

import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import unit_rows
from paper_weights import places
from scipy.linalg import sqrtm
from soundworld import SAMPLE_RATE, other_take, synthesise
from v2a_pretraining.data import SIZES

from v2a_utils.__main__ import main
from v2a_utils.data.files import write_json
from v2a_utils.evaluation import generation, methods, run
from v2a_utils.evaluation.evaluator import Evaluator
from v2a_utils.evaluation.features import extract, stack_seeds
from v2a_utils.evaluation.generation import World, generator_key
from v2a_utils.evaluation.methods import COMPARED, METHODS, QUICK, Sizes, conditions, missing
from v2a_utils.evaluation.run import data_efficiency
from v2a_utils.evaluation.summary import single_rows
from v2a_utils.mappers.registry import trained_mapper
from v2a_utils.models.audioldm import Generator
from v2a_utils.models.backbones import RIGHT_FOR_IMAGEHEAR, AudioCnn
from v2a_utils.models.vocoder import GriffinLimVocoder
from v2a_utils.models.weights import save_weights
from v2a_utils.pipeline import SoundOptions
from v2a_utils.stacks import stack as stacks

FEW = replace(QUICK, pictures=60, takes=6, covered=4)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder of their own for what is kept."""
    folder = tmp_path_factory.mktemp("evaluation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("V2A_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def world(stack, home):
    return World(stack, "test", FEW.pictures)


@pytest.fixture(scope="module")
def evaluator(world):
    return Evaluator(world, FEW)


def measured(evaluator, sounds) -> dict:
    made = stack_seeds([extract(evaluator.stack, one, evaluator.world.scenes) for one in sounds])
    return {score.measure: score.interval for score in evaluator.scores(made)}


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
    assert {"FD", "FAD", "KL softmax", "KL sigmoid", "IS", "CS", "accuracy", "diversity", "coverage", "recall@10",
            "seconds a sound", "trained parameters"} <= set(whole.measure)
    assert (table.low <= table.value + 1e-6).all() and (table.value <= table.high + 1e-6).all()
    shares = table[table.measure.isin(["accuracy", "recall@10", "coverage"])]
    assert (shares.low >= 0).all() and (shares.high <= 1).all() and (shares.low < shares.high).all()
    assert (table[table.measure.isin(["FD", "FAD", "IS", "diversity"])].low >= 0).all()
    assert whole[whole.measure == "FD"].backbone.eq("mini tagger").all()
    assert whole[whole.measure == "FAD"].backbone.eq("mini wav2clip").all()
    assert whole[whole.measure == "CS"].sample_rate.eq(16_000).all() and (whole.n > 0).all()
    assert set(whole[whole.method == "2 draws"].split) == {"sweep"}
    assert set(table[table.label.notna()].measure) == {"accuracy"}
    singles = pd.read_csv(summary / "singles.csv")
    assert len(singles) == 2 * (QUICK.pictures + QUICK.ood) * QUICK.seeds + QUICK.sweep
    means = singles[singles.split == "test"].groupby("method")
    for measure, column in (("accuracy", "right"), ("CS", "CS")):
        found = whole[(whole.measure == measure) & (whole.split == "test")].set_index("method").value
        assert found.to_dict() == pytest.approx(means[column].mean().drop("2 draws", errors="ignore").to_dict(), rel=1e-5)
    assert len(pd.read_csv(summary / "sounds.csv")) == 2 * QUICK.pictures
    assert json.loads((summary / "run.json").read_text())["settings"]["2 draws"].startswith('diffusion {"draws": 2}')


@pytest.mark.filterwarnings("ignore:a Fréchet distance")
def test_the_numbers_of_the_command_are_those_of_the_sounds(summary, world):
    """FD of the reference row from SoundWorld's own sounds, by NumPy's and SciPy's formula."""
    tagger, scenes = world.stack.tagger, world.scenes[: QUICK.pictures]
    real = tagger.features([synthesise(scene) for scene in world.scenes[: QUICK.real]], SAMPLE_RATE)
    made = [tagger.features([synthesise(other_take(scene, seed)) for scene in scenes], SAMPLE_RATE)
            for seed in range(QUICK.seeds)]
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
    world = World(stack, "test", generation.BATCH)
    committed = pd.read_csv(run.SUMMARY / "sounds.csv")
    for name, near in (("reference", 1e-3), ("regression", 0.5)):  # rounding in a generator moves what it makes a little
        made, _ = run.make_and_extract(world, name, 1, Sizes(covered=1, real=0))
        found = pd.DataFrame(single_rows(Evaluator(world, Sizes(real=0)), made))
        known = committed[(committed.method == name) & (committed["index"] < generation.BATCH)]
        assert list(found.right) == list(known.right) and len(known) == generation.BATCH
        assert list(found.CS) == pytest.approx(list(known.CS), abs=near)
        assert list(found.loudness) == pytest.approx(list(known.loudness), abs=near)
        if name == "reference":
            assert list(found.pitch) == pytest.approx(list(known.pitch), rel=1e-4, nan_ok=True)
            assert list(found.events) == list(known.events)


def test_differences_of_methods_are_paired(summary):
    table = pd.read_csv(summary / "differences.csv")
    assert set(zip(table.method, table.other)) == {pair for pair in COMPARED if set(pair) <= {"reference", "regression"}}


def test_trained_parameters_are_those_of_the_method(summary, stack):
    table = pd.read_csv(summary / "evaluation.csv")
    count = table[table.measure == "trained parameters"].groupby("method").value.first()
    assert count["reference"] == 0
    assert count["2 draws"] == sum(p.numel() for p in trained_mapper(stack, "diffusion").parameters())


def test_the_gap_is_measured_for_every_method_against_the_true_sounds(summary):
    table = pd.read_csv(summary / "gap.csv").set_index(["method", "measure"])
    assert {name for name, _ in table.index} == {"reference", "regression"}  # no sweeps
    assert set(table.n[:, "cosine"]) == {QUICK.gap}
    assert table.value["reference", "cosine"] > 0.8 and table.value["regression", "recall@10"] > 20 / QUICK.gap


def test_efficiency_has_a_row_for_each_number_of_pairs(summary):
    table = pd.read_csv(summary / "efficiency.csv")
    assert set(table.pairs) == set(QUICK.efficiency) and set(table["mapper"]) == {"regression", "diffusion"}
    assert np.isfinite(table.value).all()


@pytest.mark.parametrize("arguments, message", [
    (["--methods", "magic"], "unknown method magic"), (["--n", "1"], "1 pictures"), (["--seeds", "0"], "0 seeds"),
])
def test_bad_arguments_end_with_one_sentence(arguments, message, stack, home, monkeypatch, capsys):
    monkeypatch.setattr(stacks, "load_stack", lambda name=None, device=None: stack)
    assert main(["evaluate", "--quick", *arguments, "--out", str(home / "bad")]) == 2
    assert message in capsys.readouterr().err


def test_evaluate_writes_into_results_unless_it_is_told_where(stack, monkeypatch, home):
    written = []
    monkeypatch.setattr(stacks, "load_stack", lambda name=None, device=None: stack)
    monkeypatch.setattr(run, "evaluate", lambda stack, names, sizes, out: written.append(out) or [])
    assert main(["evaluate"]) == main(["evaluate", "--out", str(home)]) == 0
    assert [str(one) for one in written] == ["results/evaluation/mini", str(home)]


def test_what_a_stack_has_no_mapper_for_is_left_out_with_a_sentence(stack, monkeypatch, capsys):
    def no_mapper(stack, kind):
        raise ValueError(f"{kind}: no trained {kind} mapper")

    monkeypatch.setattr(methods, "trained_mapper", no_mapper)
    chosen = run.choose(stack, None)
    assert "no mapper" in chosen and not {"words", "regression, deep", "diffusion"} & set(chosen)
    assert "left out: words (words: no trained words mapper)" in capsys.readouterr().out
    with pytest.raises(ValueError, match="the method words cannot be run: words: no trained"):
        run.choose(stack, ["words"])


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


def test_evaluate_runs_on_the_paper_stack_and_compares_classes_by_audiosets_names(paper, home, monkeypatch, tmp_path):
    monkeypatch.setattr(run, "data_efficiency", lambda *_: pd.DataFrame())  # trains mappers of the paper's size
    monkeypatch.setattr(generation, "best_candidates", lambda stack, batch, settings, rank: (
        np.random.default_rng(settings.seed).normal(0, 0.1, (len(batch), 16_000)).astype(np.float32), None))
    monkeypatch.setattr(Generator, "sample_rate", SAMPLE_RATE)
    few = replace(QUICK, pictures=4, ood=4, sweep=4, real=8, covered=2, gap=20, seeds=2)
    original = type(paper.tagger).classify

    def hears_the_first_picture(self, features):
        logits = original(self, features)
        logits[:, self.names.index(right_of_first)] += 1000
        return logits

    first = World(paper, "test", 4).scenes[0].label
    right_of_first = RIGHT_FOR_IMAGEHEAR[first][0]
    monkeypatch.setattr(type(paper.tagger), "classify", hears_the_first_picture)
    table = run.evaluate(paper, ["reference", "true CLAP embedding", "regression"], few, tmp_path)
    by_class = table[(table.measure == "accuracy") & (table.split == "test")].set_index(["method", "label"]).value
    assert by_class["regression", first] == 1 and by_class["reference", ""] > 0
    assert json.loads((tmp_path / "run.json").read_text())["stack"] == "paper"


def test_accuracy_is_left_out_with_a_sentence_where_the_tagger_has_no_class_in_common(paper, home, monkeypatch, capsys,
                                                                                     tmp_path):
    monkeypatch.setattr(paper.tagger, "names", [f"sound {number}" for number in range(len(paper.tagger.names))])
    monkeypatch.setattr(run, "data_efficiency", lambda *_: pd.DataFrame())
    few = replace(QUICK, pictures=4, ood=4, sweep=4, real=8, covered=2, gap=20)
    table = run.evaluate(paper, ["reference"], few, tmp_path)
    assert "accuracy is left out" in capsys.readouterr().out and "accuracy" not in set(table.measure)
    assert pd.read_csv(tmp_path / "singles.csv").right.isna().all()


# -------------------------------------------------------------------------------------------------------- generation


def test_sounds_of_one_configuration_are_not_taken_for_those_of_another(stack):
    """Griffin-Lim with 1 and with 32 iterations has the same weights."""
    keys = []
    for iterations in (1, 32):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stack.generator, "vocoder", GriffinLimVocoder(iterations=iterations))
            keys.append(generator_key(stack))
    assert keys[0] != keys[1]


def test_sounds_are_evaluated_in_the_precision_in_which_they_are_shipped(world, monkeypatch):
    modes, original = [], generation.best_candidates

    def watched(stack, batch, settings, rank):
        modes.append(torch.is_autocast_enabled("cpu"))
        return original(stack, batch, settings, rank=rank)

    monkeypatch.setattr(generation, "best_candidates", watched)
    options = SoundOptions(steps=1, candidates=1, seed=77)
    made, _ = world.generate("precision", world.audio[:2], options)
    shipped, _ = original(world.stack, world.audio[:2], generation.batch_options(options, 0))
    assert modes == [False] and np.array_equal(made, shipped.astype(np.float16))  # as they are kept


def test_maps_in_closed_form_see_the_pairs_that_the_mappers_were_trained_on(stack, monkeypatch):
    assert Sizes().pairs == SIZES["train"]
    asked = []
    monkeypatch.setattr(generation, "world_store", lambda stack, split, count: asked.append((split, count)) or fake)
    rows = unit_rows(40, 64)
    fake = SimpleNamespace(numpy=lambda column: rows if column == "visual" else rows[::-1].copy())
    world = SimpleNamespace(stack=stack, visual=rows)
    world.pairs = partial(World.pairs, world)
    found = conditions(world, METHODS["nearest neighbour"], 0, Sizes())
    assert asked == [("train", SIZES["train"])] and np.allclose(found, rows[::-1])



def test_a_kill_loses_one_batch_at_most(world, monkeypatch, tmp_path):
    made, options = [], SoundOptions(steps=1, candidates=1)
    monkeypatch.setenv("V2A_CACHE", str(tmp_path))
    monkeypatch.setattr(generation, "BATCH", 2)
    original = generation.best_candidates

    def until_killed(stack, batch, settings, rank):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(settings.seed)
        return original(stack, batch, settings, rank=rank)

    monkeypatch.setattr(generation, "best_candidates", until_killed)
    with pytest.raises(KeyboardInterrupt):
        world.generate("killed", world.audio[:6], options)
    made[:] = made[:1]
    resumed, seconds = world.generate("resumed", world.audio[:6], options)
    assert made == [0, 4] and len(resumed) == 6 and seconds > 0
    spared = world.spared
    assert np.array_equal(world.generate("kept", world.audio[:6], options)[0], resumed)
    assert world.spared - spared == pytest.approx(6 * seconds)  # all of them were only read
    monkeypatch.setattr(generation, "best_candidates", original)
    other = world.generate("another seed", world.audio[:2], replace(options, seed=1))[0]
    assert not np.allclose(other, resumed[:2])


def test_another_process_knows_the_kept_sounds_again(world, fresh):
    """A set that is printed in another order in each process would make every batch a new one."""
    assert fresh["key"] == world.key


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.source != "real"])
def test_conditions_of_every_method_are_unit_norm_and_its_own(world, name):
    if reason := missing(world.stack, METHODS[name]):
        pytest.skip(reason)
    found = conditions(world, METHODS[name], 0, QUICK)
    assert found.shape == (FEW.pictures, world.stack.generator.embed_dim)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-4)


# ---------------------------------------------------------------------------------------------------------- measures


@pytest.fixture(scope="module")
def takes(evaluator):
    """Two other takes of every scene's sound, and what is measured of them."""
    sounds = [np.stack([synthesise(other_take(scene, seed)) for scene in evaluator.world.scenes]) for seed in range(2)]
    return sounds, measured(evaluator, sounds)


def test_measures_know_true_sounds_from_sounds_of_other_pictures(evaluator, takes):
    good, bad = takes[1], measured(evaluator, [np.roll(one, 1, axis=0) for one in takes[0]])
    for name in ("accuracy", "CS", "recall@10", "coverage", "size → pitch", "distance → loudness"):
        assert good[name].value > bad[name].value, name
    for name in ("KL softmax", "KL sigmoid"):
        assert good[name].value < bad[name].value, name
    assert good["FD"].value == pytest.approx(bad["FD"].value)  # it compares clouds, not pairs
    assert good["diversity"].value == pytest.approx(bad["diversity"].value)


def test_noise_is_far_from_true_sounds(evaluator, takes):
    noise = [np.random.default_rng(seed).normal(0, 0.1, evaluator.world.sounds.shape).astype(np.float32)
             for seed in range(2)]
    true = measured(evaluator, [evaluator.world.sounds] * 2)
    found, other = measured(evaluator, noise), takes[1]
    for name in ("FD", "FAD", "KL softmax"):
        assert found[name].low > other[name].high > other[name].value > true[name].value - 1e-3, name
    assert true["KL softmax"].value == pytest.approx(0, abs=1e-4) and true["diversity"].value == pytest.approx(0)


def test_efficiency_is_that_of_mappers_trained_on_so_many_pairs(stack, world, monkeypatch):
    pairs, original = [], run.train_mapper

    def watched(mapper, visual, audio, train):
        pairs.append((mapper.kind, len(visual), len(audio), train.batch_size))
        original(mapper, visual, audio, replace(train, warmup=10, steps=100 if mapper.kind == "regression" else 2))

    monkeypatch.setattr(run, "train_mapper", watched)
    sizes = replace(QUICK, efficiency=(16, 64))
    first, second = (data_efficiency(stack, world, sizes) for _ in range(2))
    assert first.equals(second)
    assert pairs[:4] == [(kind, n, n, n) for kind in ("regression", "diffusion") for n in (16, 64)]
    cosine = first[first.measure == "cosine"].set_index(["mapper", "pairs"]).value
    assert cosine["regression", 64] > cosine["regression", 16] > 0.1  # an untrained one is at 0
