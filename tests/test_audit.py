"""The audit of the measures: every defect does what its name says, and what is told of a measure is what was found."""

from types import SimpleNamespace

import librosa
import numpy as np
import pandas as pd
import pytest
import torch
from benchmarks import audit, cards
from benchmarks.audit import BETTER, CLEAN, OTHERS, Heard, Judge, coverage, tell, thresholds, values
from benchmarks.defects import DEFECTS, ROWS, SCENES, SIGNALS, SOME_SCENES
from conftest import ROOT, sine
from soundworld import CLASSES, SAMPLE_RATE, make_scene, synthesise

from v2a_utils.data.audio import loudness
from v2a_utils.evaluation.figures import audit_matrix, noticed

DICE = np.random.default_rng
BARK = synthesise(make_scene("test", 0)).astype(np.float64)
LABELS = np.repeat(list(CLASSES), 10)


def spoilt(name: str, place: int, wave=BARK) -> np.ndarray:
    return SIGNALS[name].spoil(wave, SIGNALS[name].doses[place], DICE(0))


def above(wave: np.ndarray, hertz: float) -> float:
    """Share of the power above a frequency."""
    power = np.abs(np.fft.rfft(wave)) ** 2
    return power[np.fft.rfftfreq(len(wave), 1 / SAMPLE_RATE) > hertz].sum() / power.sum()


@pytest.mark.parametrize("name", SIGNALS)
def test_a_defect_of_the_signal_keeps_the_length_and_grows_with_the_dose(name):
    apart = [np.abs(np.abs(librosa.stft(spoilt(name, place))) - np.abs(librosa.stft(BARK))).mean() for place in (0, 5)]
    assert len(spoilt(name, 0)) == len(BARK) and np.isfinite(spoilt(name, 5)).all()
    assert apart[0] < apart[1] or name in ("onsets moved", "spread too large")  # which way is drawn


def test_defects_of_the_signal_are_what_they_are_called():
    noise = DICE(1).normal(0, 0.1, 40_960)
    assert loudness(spoilt("too soft", 5)) == pytest.approx(loudness(BARK) - 20, abs=0.1)
    assert above(spoilt("low-passed", 5, noise), 2400) < 1e-3 < above(noise, 2400)
    assert 10 * np.log10((BARK**2).mean() / ((spoilt("noise", 5) - BARK) ** 2).mean()) == pytest.approx(5, abs=0.3)
    assert not spoilt("silent end", 5)[-32_000:].any() and spoilt("silent end", 5)[:8000].any()
    assert np.abs(np.roll(BARK, 12_800) - spoilt("onsets moved", 5)).max() * \
        np.abs(np.roll(BARK, -12_800) - spoilt("onsets moved", 5)).max() == 0
    tone = sine(440, 2.56).astype(np.float64)
    assert np.corrcoef(spoilt("mp3", 0, tone), tone)[0, 1] > 0.99  # the codec's delay is taken away
    assert (spoilt("clipped", 5)**2).mean() == pytest.approx((BARK**2).mean())
    magnitudes = [np.abs(librosa.stft(wave)).ravel() for wave in (spoilt("Griffin-Lim", 0), BARK)]
    assert np.corrcoef(*magnitudes)[0, 1] > 0.9


@pytest.mark.parametrize("name", [name for name in ROWS if name != "spread too small"])
def test_a_share_of_the_pictures_gets_another_sound(name):
    dose = ROWS[name].doses[3]
    rows = ROWS[name].spoil(LABELS, dose, DICE(0))
    changed = rows != np.arange(len(LABELS))
    wrong = LABELS[rows] != LABELS
    if name == "classes dropped":
        assert len(set(LABELS[rows])) == len(CLASSES) - dose and wrong.sum() == 10 * dose
    else:
        assert changed.mean() == pytest.approx(dose / 100) and (wrong == changed).all() == (name == "wrong class")
    if name == "pairs shuffled":
        assert sorted(rows) == list(range(len(LABELS)))


def test_the_typical_sound_is_one_of_the_class():
    features = DICE(0).normal(size=(len(LABELS), 4))
    rows = ROWS["spread too small"].spoil(LABELS, 100, DICE(0), features)
    assert (LABELS[rows] == LABELS).all() and len(set(rows)) == len(CLASSES)


def test_of_a_scene_one_cause_is_changed():
    scene = next(scene for scene in (make_scene("test", index) for index in range(99)) if len(scene.things) == 1)
    farther = SCENES["too far"].spoil(scene, 1.0, DICE(0)).things[0]
    assert farther.distance == 1 and farther.size == scene.things[0].size
    assert SOME_SCENES["pitch ignores the size"].spoil(scene, 1, DICE(0)).things[0].size != scene.things[0].size
    for seed in range(5):
        assert abs(SOME_SCENES["one more or one less"].spoil(scene, 1, DICE(seed)).things[0].count
                   - scene.things[0].count) == 1


# ------------------------------------------------------------------------------------------- what is said of a measure


def heard(seed: int, order: np.ndarray | None = None) -> Heard:
    """Sounds of which the listeners hear little more than the class, one for each label."""
    dice, rows = DICE(seed), np.arange(len(LABELS)) if order is None else order
    classes = np.repeat(np.arange(len(CLASSES)), 10)[rows]

    def near(width: int, spread: float = 0.3) -> np.ndarray:
        return (DICE(7).normal(size=(len(CLASSES), width))[classes] + dice.normal(0, spread, (len(rows), width)))

    return Heard(6 * np.eye(len(CLASSES))[classes] + dice.normal(size=(len(rows), len(CLASSES))), near(8),
                 np.stack([near(6), near(6)], 1), near(8), near(5), np.full((len(rows), 3), np.nan),
                 dice.random((len(rows), 256)))


def judge() -> Judge:
    return Judge(heard(0), list(CLASSES), LABELS, visual=heard(0).clip)


def test_shuffled_pairs_are_seen_by_measures_of_pairs_and_not_by_clouds(monkeypatch):
    monkeypatch.setattr(audit, "SLOW", 0)
    limits = thresholds(values(judge(), [heard(1), heard(2)], [64], 30))
    rows = pd.DataFrame(tell("pairs shuffled", 100, values(
        judge(), [heard(1), heard(2)], [64], 20, 1, shuffle=100), limits)).set_index("measure")
    assert set(rows.index[rows.worse >= 0.8]) - {"KL sigmoid"} == {"KL softmax", "CS", "accuracy", "recall@10"}
    assert rows.better["diversity"] == 1 and (rows.worse[["FD", "FAD", "KAD", "IS", "coverage"]] < 0.3).all()
    alarms = pd.DataFrame(tell("none", 0, values(judge(), [heard(3), heard(4)], [64], 20, 1), limits))
    assert alarms.worse.mean() < 0.2


def small_table() -> pd.DataFrame:
    """Two defects of two measures: one is noticed from the third dose on, one is blind, one calls the last better."""
    rows = []
    for defect in ("noise", "mp3"):
        for place, dose in enumerate(DEFECTS[defect][0]):
            for measure, worse, better in (("FD", float(place >= 2 and defect == "noise"), 0.0),
                                           ("IS", 0.0, float(place == 5 and defect == "mp3"))):
                rows += [{"defect": defect, "dose": dose, "unit": DEFECTS[defect][1], "measure": measure, "n": n,
                          "subsets": 20, "worse": worse, "mean": place * (1 - 2 * BETTER[measure]), "sd": 1.0, "better": better} for n in (64, 256)]
    for defect in (CLEAN, audit.ALARM, OTHERS):
        rows += [{"defect": defect, "dose": 0, "unit": "", "measure": measure, "n": n, "subsets": 20, "mean": 1.0, "sd": 1.0,
                  "worse": 0.05, "better": 0.05} for measure in ("FD", "IS") for n in (64, 256)]
    return pd.DataFrame(rows)


def test_the_smallest_noticed_dose_blindness_and_reward_are_told_apart():
    table = noticed(small_table())
    assert table.to_dict() == {"FD": {"noise": 3, "mp3": 0}, "IS": {"noise": 0, "mp3": -1}}
    axis = audit_matrix(small_table()).axes[0]
    assert [text.get_text() for text in axis.texts] == ["20", "", "", "better"]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["noise (dB SNR)", "mp3 (kbit/s)"]


def test_a_card_says_what_was_found():
    found = small_table()
    tricks = pd.DataFrame([{"defect": "sharpened", "measure": "IS", "n": 256, "mean": 9.5, "better": 1.0}])
    fd, scored = (cards.card(found, tricks, name) for name in ("FD", "IS"))
    assert "noise from 20 dB SNR" in fd and "(64 pictures" not in fd and "**Blind to**: mp3" in fd
    assert "**Calls better**: mp3" in scored and "sharpened (9.5)" in scored and "5% on other takes" in fd
    failed = cards.against_predictions(noticed(found))
    assert {(row.defect, row.measure, row.found) for row in failed.itertuples()} == {
        ("mp3", "FD", "blind"), ("noise", "IS", "blind"), ("mp3", "IS", "rewards")}


def test_predictions_are_of_every_defect_and_measure():
    predicted = pd.read_csv(cards.PREDICTIONS, index_col="defect")
    assert set(predicted.index) == set(DEFECTS) and list(predicted) == list(BETTER)
    assert set(predicted.to_numpy().ravel()) == {"notices", "blind", "rewards"}


def test_a_finished_defect_is_not_measured_again_unless_what_made_it_is_another(tmp_path, monkeypatch):
    clip, asked = torch.nn.Linear(2, 2), []
    pool = SimpleNamespace(made_by={"weights": ["a"]}, stack=SimpleNamespace(vision=SimpleNamespace(model=clip)))
    monkeypatch.setattr(audit, "KEPT", tmp_path)
    monkeypatch.setattr(audit, "_pool", lambda size: pool)
    monkeypatch.setattr(audit.Task, "_measured", lambda self: asked.append(self) or [{"defect": self.defect, "sd": 0.1}])
    task = audit.Task(4, 2, "noise", 5)
    assert task.rows() == task.rows() == [{"defect": "noise", "sd": 0.1}] and len(asked) == 1
    for change in (lambda: torch.nn.init.ones_(clip.weight), lambda: pool.made_by.update(weights=["b"]),
                   lambda: monkeypatch.setattr(audit, "MEASURES", ["other code"])):
        known = len(asked)
        change()
        task.rows()
        assert len(asked) == known + 1
    assert audit.Task(4, 3, "noise", 5).rows() and len(asked) == 5


def test_the_committed_table_is_whole():
    found = pd.read_csv(ROOT / "data" / "results" / "audit.csv")
    assert set(zip(found.defect, found.dose)) == {(name, dose) for name, (doses, _) in DEFECTS.items() for dose in doses} \
        | {(CLEAN, 0), (audit.ALARM, 0), (OTHERS, 0)}
    assert set(found.measure) == set(BETTER) and set(found[found.n == 64].groupby("defect").measure.nunique()) == {18}
    alarms = found[(found.defect == audit.ALARM) & (found.n == 64)]
    assert alarms.worse.mean() < 0.12


def test_the_readme_says_what_the_tables_say():
    seen = noticed(pd.read_csv(ROOT / "data" / "results" / "audit.csv"))
    tricks = pd.read_csv(ROOT / "data" / "results" / "tricks.csv").set_index(["defect", "measure"])["mean"]
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert (seen.loc["noise", ["FD", "FAD", "KAD"]] == 1).all() and not seen.loc["pairs shuffled", ["FD", "FAD", "KAD"]].any()
    assert f"{(seen.diversity < 0).sum()} of {len(seen)} defects an improvement" in readme
    assert f"CS of {tricks['best of 8 by CS', 'CS']:.1f} where true sounds have {tricks['true sounds', 'CS']:.1f}" in readme


def test_coverage_is_full_for_the_same_distribution_and_small_for_one_answer():
    rng = np.random.default_rng(0)
    true, same = rng.normal(size=(2, 60, 4))
    assert coverage(true, same) > 0.85
    assert coverage(true, np.repeat(true.mean(0, keepdims=True), 60, 0)) < 0.4
    assert coverage(true, same + 50) == 0
    with pytest.raises(ValueError, match="more than 3"):
        coverage(true[:3], same)
