"""The evaluation: its command, what a kill leaves, and whether the measures tell good methods from bad ones."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import offline_environment

from v2a_utils.__main__ import main
from v2a_utils.evaluation import methods as evaluation
from v2a_utils.evaluation.methods import METHODS, QUICK, Judge, World, conditions, data_efficiency, listen, stack_seeds
from v2a_utils.mappers.folders import trained_mapper
from v2a_utils.models import extraction as embeddings, stacks
from v2a_utils.pipeline import SoundOptions
from v2a_utils.soundworld import other_take, synthesise

FEW = replace(QUICK, pictures=60, takes=6, covered=4)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder of their own for what is kept."""
    folder = tmp_path_factory.mktemp("evaluation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "KEPT", folder / "results" / "sounds")
        patch.setattr(embeddings, "CACHE", folder / "embeddings")
        yield folder


@pytest.fixture(scope="module")
def world(stack, home):
    return World(stack, "test", FEW.pictures)


@pytest.fixture(scope="module")
def judge(world):
    return Judge(world, FEW)


def measured(judge, sounds) -> dict:
    heard = stack_seeds([listen(judge.stack, one, judge.world.scenes) for one in sounds])
    return {name: interval for name, interval, *_ in judge.measures(heard)}


# ------------------------------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def summary(stack, home):
    """A quick run of a true, a mapped and a swept method."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacks, "load_stack", lambda name=None, device=None: stack)
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
    assert whole[whole.measure == "FD"].backbone.eq("mini tagger").all()
    assert whole[whole.measure == "FAD"].backbone.eq("mini wav2clip").all()
    assert whole[whole.measure == "CS"].sample_rate.eq(16_000).all() and (whole.n > 0).all()
    assert set(whole[whole.method == "2 draws"].split) == {"sweep"}
    assert set(table[table.label.notna()].measure) == {"accuracy"}
    singles = pd.read_csv(home / "results" / "singles.csv")
    assert len(singles) == 2 * (QUICK.pictures + QUICK.ood) * QUICK.seeds + QUICK.sweep
    assert len(pd.read_csv(summary / "sounds.csv")) == 2 * QUICK.pictures
    assert json.loads((summary / "run.json").read_text())["settings"]["2 draws"].startswith('diffusion {"draws": 2}')


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


# -------------------------------------------------------------------------------------------------------- generation


def test_a_kill_loses_one_batch_at_most(world, monkeypatch, tmp_path):
    made, options = [], SoundOptions(steps=1, candidates=1)
    monkeypatch.setattr(evaluation, "KEPT", tmp_path)
    monkeypatch.setattr(evaluation, "BATCH", 2)
    original = evaluation.best_candidates

    def until_killed(stack, batch, settings):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(settings.seed)
        return original(stack, batch, settings)

    monkeypatch.setattr(evaluation, "best_candidates", until_killed)
    with pytest.raises(KeyboardInterrupt):
        world.generate("killed", world.audio[:6], options)
    made[:] = made[:1]
    resumed, seconds = world.generate("resumed", world.audio[:6], options)
    assert made == [0, 4] and len(resumed) == 6 and seconds > 0
    assert np.array_equal(world.generate("kept", world.audio[:6], options)[0], resumed)
    monkeypatch.setattr(evaluation, "best_candidates", original)
    other = world.generate("another seed", world.audio[:2], replace(options, seed=1))[0]
    assert not np.allclose(other, resumed[:2])


def test_another_process_knows_the_kept_sounds_again(world):
    """A set that is printed in another order in each process would make every batch a new one."""
    code = ("from v2a_utils.evaluation.methods import World; from v2a_utils.models.stacks import load_stack; "
            "world = World.__new__(World); world.stack = load_stack('mini', 'cpu'); print(world.weights)")
    other = subprocess.run([sys.executable, "-c", code], env=offline_environment() | {"PYTHONHASHSEED": "1"},
                           capture_output=True, text=True, check=True)
    assert other.stdout.strip() == world.weights


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.source != "real"])
def test_conditions_of_every_method_are_unit_norm_and_its_own(world, name):
    found = conditions(world, METHODS[name], 0, QUICK)
    assert found.shape == (FEW.pictures, world.stack.generator.embed_dim)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-4)


# ---------------------------------------------------------------------------------------------------------- measures


def test_measures_know_true_sounds_from_sounds_of_other_pictures(judge):
    scenes = judge.world.scenes
    takes = [np.stack([synthesise(other_take(scene, seed)) for scene in scenes]) for seed in range(2)]
    good, bad = measured(judge, takes), measured(judge, [np.roll(one, 1, axis=0) for one in takes])
    for name in ("accuracy", "CS", "recall@10", "coverage", "size → pitch", "distance → loudness"):
        assert good[name].value > bad[name].value, name
    for name in ("KL softmax", "KL sigmoid"):
        assert good[name].value < bad[name].value, name
    assert good["FD"].value == pytest.approx(bad["FD"].value)  # it compares clouds, not pairs
    assert good["diversity"].value == pytest.approx(bad["diversity"].value)


def test_noise_is_far_from_true_sounds(judge):
    noise = [np.random.default_rng(seed).normal(0, 0.1, judge.world.sounds.shape).astype(np.float32)
             for seed in range(2)]
    true = measured(judge, [judge.world.sounds] * 2)
    found = measured(judge, noise)
    for name in ("FD", "FAD", "KL softmax"):
        assert found[name].value > true[name].value, name
    assert true["KL softmax"].value == pytest.approx(0, abs=1e-4) and true["diversity"].value == pytest.approx(0)


def test_efficiency_is_a_function_of_its_seed(stack, world):
    first, second = (data_efficiency(stack, world, replace(QUICK, efficiency=(16,))) for _ in range(2))
    assert first.equals(second)
