"""What do the measures see? Known defects of true sounds, dose by dose, through every measure of the field.

`python -m benchmarks.audit` writes audit.csv, tricks.csv and audit.md, a card for each measure. The sounds are true
takes of SoundWorld's test scenes: the reference sounds are one take, what is judged are two others, with a defect. A
measure notices a dose if in at least 80% of the drawn subsets of n pictures its value is worse than in 95% of subsets
without a defect. What it said of true sounds that no other subset was set by are its false alarms.

Features and finished rows are kept in results/audit: what was killed goes on. `--quick` takes five minutes and says
little. `--real FOLDER` repeats the defects of the signal on any folder of sounds, by the clouds' measures alone.
"""

import argparse
import inspect
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from functools import cache, cached_property, partial
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import torch
from scipy.spatial.distance import cdist
from soundworld import CLASSES, NUM_SAMPLES, SAMPLE_RATE, Scene, draw, events, make_scene, other_take, synthesise
from soundworld.measures import seen_attributes
from tqdm.auto import tqdm

from benchmarks.defects import DEFECTS, MEMORISED, ROWS, SCENES, SIGNALS, SOME_SCENES, Defect, typical_only
from v2a_utils.data.audio import even_loudness, read_audio, resample
from v2a_utils.data.files import key, sha256, write_arrays, write_file, write_table
from v2a_utils.data.sources import world_code
from v2a_utils.evaluation.features import attribute_fidelity, measure_attributes
from v2a_utils.metrics import gap, sounds, timing
from v2a_utils.models.mel import log_mel
from v2a_utils.models.weights import state_sha256
from v2a_utils.stacks.stack import Stack, load_stack

KEPT = Path("results/audit")
SEEN, POWER, ALPHA = (64, 256), 0.8, 0.05  # pictures in a subset; what "notices" asks for; false alarms allowed
BETTER = {  # by measure, whether more is better
    "FD": False, "FAD": False, "KAD": False, "FD, MFCC": False, "KAD, MFCC": False, "KL softmax": False,
    "KL sigmoid": False, "C2ST": False, "IS": True, "CS": True, "accuracy": True, "recall@10": True, "diversity": True,
    "coverage": True, "size → pitch": True, "count → events": True, "distance → loudness": True, "offset": False}
CLEAN, ALARM, OTHERS = "none", "none, other takes", "none, other scenes of the class"
FILM_RATE, MEL_RATE, SLOW = 25, 100, 20  # frames and mels a second; subsets by which C2ST is judged
SLICE = 40  # sounds heard at once
TAKES = (1, 2)  # that get the defects
# the code that listens, and the code that measures what was heard: what is kept is kept under their sums
LISTENING, MEASURES = ([sha256(Path(inspect.getfile(each))) for each in some] for some in (
    (measure_attributes, seen_attributes, log_mel, timing), (sounds, gap)))


# ------------------------------------------------------------------------------------------------- what is heard


@dataclass(frozen=True)
class Heard:
    """What listeners make of n sounds, arrays (n, ...)."""

    logits: np.ndarray  # of the tagger, (n, classes)
    features: np.ndarray  # of the tagger, (n, d)
    frames: np.ndarray  # of FAD's listener, (n, frames, d)
    clip: np.ndarray  # of Wav2CLIP, (n, d)
    mfcc: np.ndarray  # mean and standard deviation of 20 MFCCs, (n, 40): a listener that nobody trained
    attributes: np.ndarray  # pitch, number of events, loudness, (n, 3); NaN where there is no scene
    curves: np.ndarray  # where each sound begins anew, (n, mels)

    def rows(self, chosen: np.ndarray) -> "Heard":
        """The sounds of these rows."""
        return Heard(*(getattr(self, field.name)[chosen] for field in fields(Heard)))


def join(parts: Iterable[Heard]) -> Heard:
    """Several one after the other."""
    parts = list(parts)
    return Heard(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Heard)))


def listen(stack: Stack, waves: np.ndarray, scenes: list[Scene] | None) -> Heard:
    """Sounds (n, samples) at SoundWorld's rate, through all listeners."""
    waves = np.asarray(waves, np.float32)
    features = stack.tagger.features(list(waves), SAMPLE_RATE)
    mels = np.concatenate([log_mel(torch.from_numpy(waves[start : start + 4]), SAMPLE_RATE)  # what a cache holds
                           for start in range(0, len(waves), 4)])
    cepstra = [librosa.feature.mfcc(S=10 / np.log(10) * mel.T, n_mfcc=20) for mel in mels]
    attributes = (np.full((len(waves), 3), np.nan) if scenes is None else
                  np.stack([measure_attributes(wave, SAMPLE_RATE, scene) for wave, scene in zip(waves, scenes)]))
    return Heard(stack.tagger.classify(features), features, stack.framewise.frames(list(waves), SAMPLE_RATE),
                 stack.wav2clip.embed(list(waves), SAMPLE_RATE),
                 np.stack([np.concatenate([each.mean(1), each.std(1)]) for each in cepstra]), attributes,
                 np.stack([timing.sound_curve(mel) for mel in mels]).astype(np.float32))


class Pool:
    """Pictures with true sounds, and these with every defect.

    `size` scenes of one thing from the test split, as many of each class. Everything heard is kept on disk under a key
    of what made it: the code of world and defects, and the listeners' weights.
    """

    def __init__(self, size: int, seed: int = 0):
        self.size, self.seed, self.stack = size, seed, load_stack("mini")
        alone = (scene for index in range(10**6) if len((scene := make_scene("test", index, seed)).things) == 1)
        self.scenes = list(_balanced(alone, size))
        self.labels = np.array([scene.label for scene in self.scenes])
        self._waves: dict[tuple[Scene, int], np.ndarray] = {}
        self.made_by = {
            "code": [sha256(Path(__file__).with_name("defects.py")), world_code(), *LISTENING,
                     *map(inspect.getsource, (listen, Pool, average, sharpen))],
            "weights": [state_sha256(part.model) for part in (self.stack.tagger, self.stack.framewise, self.stack.wav2clip)]}

    def heard(self, name: str, dose: float, take: int) -> Heard:
        """Take `take` of every picture's sound with a defect; pitches are looked for where the sound's own class has them.
        """
        dice = np.random.default_rng([self.seed, take, sum(name.encode())])
        clean = partial(self.true, take)
        if name in ROWS:
            more = (clean().features,) if ROWS[name].spoil is typical_only else ()
            return clean().rows(ROWS[name].spoil(self.labels, dose, dice, *more))
        if name in SOME_SCENES:
            defect, count = SOME_SCENES[name], round(dose / 100 * self.size)
            other = self.kept(name, 1, take, lambda scene, step, own: synthesise(
                defect.spoil(other_take(scene, take), step, own)))
            return join([clean(), other]).rows(np.where(
                np.isin(np.arange(self.size), dice.permutation(self.size)[:count]), self.size, 0) + np.arange(self.size))
        if name == "memorised":
            return self.training.rows(self._of_class(dose, dice))
        if name in SCENES:
            return self.kept(name, dose, take, lambda scene, step, own: synthesise(
                SCENES[name].spoil(other_take(scene, take), step, own)))
        return self.kept(name, dose, take, lambda scene, step, own: SIGNALS[name].spoil(
            self._wave(scene, take).astype(np.float64), step, own))

    def true(self, take: int) -> Heard:
        """A true take of every picture: 0 is the reference."""
        return self.kept("true", 0, take, lambda scene, *_: self._wave(scene, take))

    def _wave(self, scene: Scene, take: int) -> np.ndarray:
        wave = self._waves.get((scene, take))
        if wave is None:
            wave = synthesise(other_take(scene, take) if take else scene)
            if take in TAKES:  # every defect of the signal begins with them
                self._waves[scene, take] = wave
        return wave

    def other_scenes(self, take: int) -> Heard:
        """True sounds of other scenes: another picture of the class, whose sound stands beside this one."""
        rows = np.arange(self.size)
        for name in np.unique(self.labels):
            own = np.flatnonzero(self.labels == name)
            rows[own] = np.roll(own, 1)
        return self.true(take).rows(rows)

    @cached_property
    def training(self) -> Heard:
        """Sounds of training scenes, as many of each class."""
        scenes = (scene for index in range(10**6) if len((scene := make_scene("train", index)).things) == 1)
        return self.kept("training", 0, 0, lambda scene, *_: synthesise(scene),
                          list(_balanced(scenes, int(MEMORISED.doses[0]) * len(CLASSES))))

    def _of_class(self, count: float, dice: np.random.Generator) -> np.ndarray:
        """For each picture one of the first `count` training sounds of its class."""
        owners = np.tile(np.array(CLASSES), int(MEMORISED.doses[0]))
        first = {name: np.flatnonzero(owners == name)[: int(count)] for name in CLASSES}
        return np.array([dice.choice(first[name]) for name in self.labels])

    def kept(self, name: str, dose: float, take: int, make: Callable, scenes: list[Scene] | None = None) -> Heard:
        """What is heard in `make(scene, dose, dice)` for every scene, from disk if it was heard before."""
        scenes = scenes or self.scenes
        path = KEPT / f"{key(name=name, dose=dose, take=take, n=len(scenes), seed=self.seed, **self.made_by)[:24]}.npz"
        if not path.is_file():
            parts = []
            for start in range(0, len(scenes), SLICE):
                some = scenes[start : start + SLICE]
                waves = [make(scene, dose, np.random.default_rng([self.seed, take, start + place]))
                         for place, scene in enumerate(some)]
                parts.append(listen(self.stack, np.stack(waves), some))
            write_arrays(path, vars(join(parts)))
        with np.load(path) as found:
            return Heard(**found)

    # ------------------------------------------------------------------------------------------ beside the sounds

    @cached_property
    def visual(self) -> np.ndarray:
        """CLIP's embeddings of the pictures."""
        return np.concatenate([self.stack.vision.embed_images([draw(scene) for scene in self.scenes[start : start + SLICE]])
                               for start in range(0, self.size, SLICE)])

    def films(self, take: int) -> np.ndarray:
        """When something happens in the films of a take, (n, frames); 0 throughout where nothing begins."""
        curves = np.zeros((self.size, int(NUM_SAMPLES / SAMPLE_RATE * FILM_RATE)))
        for row, scene in enumerate(self.scenes):
            for event in events(other_take(scene, take)):
                curves[row, min(round(event.seconds * FILM_RATE), curves.shape[1] - 1)] = 1
        return curves


def _balanced(scenes: Iterator[Scene], size: int) -> Iterator[Scene]:
    """As many of each class, in the classes' order again and again."""
    waiting: dict[str, list[Scene]] = {name: [] for name in CLASSES}
    for number in range(size):
        name = CLASSES[number % len(CLASSES)]
        while not waiting[name]:
            scene = next(scenes)
            waiting[scene.label].append(scene)
        yield waiting[name].pop(0)


# ------------------------------------------------------------------------------------------------ what is measured


def coverage(true: np.ndarray, made: np.ndarray, k: int = 3) -> float:
    """Share of the true sounds (t, d) that have a made one (m, d) within the distance of their k-th true neighbour.

    Naeem et al. 2020, arXiv 2002.09797. Few made sounds cannot cover many true ones, so compare at equal m.
    """
    if len(true) <= k:
        raise ValueError(f"coverage by the {k}-th neighbour needs more than {len(true)} true sounds")
    reach = np.sort(cdist(true, true), axis=1)[:, k]  # the nearest is the sound itself
    return float((cdist(true, made).min(1) <= reach).mean())


class Judge:
    """Every measure of sounds beside the reference, for a subset of the pictures."""

    def __init__(self, truth: Heard, names: list[str], labels: np.ndarray | None = None,
                 scenes: list[Scene] | None = None, visual: np.ndarray | None = None):
        self.truth, self.names, self.labels, self.scenes, self.visual = truth, names, labels, scenes, visual

    @cached_property
    def attributes(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """What is seen and should be heard: rows that have it, and values."""
        return seen_attributes(self.scenes) if self.scenes else {}

    def only(self, rows: np.ndarray) -> "Judge":
        """The same for these pictures alone."""
        scenes = self.scenes and [self.scenes[row] for row in rows]
        return Judge(self.truth.rows(rows), self.names, self.labels[rows], scenes, self.visual[rows])

    def clouds(self, made: Heard, rows: np.ndarray, c2st: bool, partners: np.ndarray | None = None) -> dict[str, float]:
        """What is measured of all sounds together."""
        true, made = self.truth.rows(rows if partners is None else partners), made.rows(rows)
        found = {"FD": sounds.frechet_distance(true.features, made.features),
                 "FAD": sounds.frechet_distance(*(np.concatenate(list(each.frames)) for each in (true, made))),
                 "KAD": sounds.KernelReference(true.features).compare(made.features)[0],
                 "FD, MFCC": sounds.frechet_distance(true.mfcc, made.mfcc),
                 "KAD, MFCC": sounds.KernelReference(true.mfcc).compare(made.mfcc)[0],
                 "IS": float(sounds.inception_rows(made.logits).mean()),
                 "coverage": coverage(true.features, made.features)}
        if c2st:
            found["C2ST"] = float(gap.two_sample_hits(*map(sounds.unit_norm, (true.features, made.features))).mean())
        return found

    def pairs(self, made: Heard, films: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """What is measured sound by sound, (n,), of all of them once; the offset if there are films of these takes."""
        true, found = self.truth, {}
        for outputs in ("softmax", "sigmoid"):
            found[f"KL {outputs}"] = sounds.kl_divergence(true.logits, made.logits, outputs)
        found["CS"] = sounds.clip_scores(self.visual, made.clip)
        found["accuracy"] = sounds.class_hits(made.logits, self.names, [{label} for label in self.labels]).astype(float)
        if films is not None:
            found["offset"] = np.array([abs(timing.offset(film, curve, FILM_RATE, MEL_RATE))
                                        for film, curve in zip(films, made.curves)])
        return found

    def together(self, made: Heard, rows: np.ndarray) -> dict[str, float]:
        """What needs the pictures of a subset together: retrieval among them, and what follows what is seen."""
        near = (sounds.unit_norm(each.features[rows]) for each in (made, self.truth))
        found = {"recall@10": float((gap.retrieval_ranks(*near) <= 10).mean())}
        for column, (name, (has, seen)) in enumerate(self.attributes.items()):
            chosen = rows[has[rows]]
            try:
                found[name] = attribute_fidelity(made.attributes[chosen, column], seen[chosen], self.labels[chosen],
                                                 draws=0).value
            except ValueError:  # no class is there three times
                continue
        return found


def values(judge: Judge, takes: list[Heard], sizes: Iterable[int], draws: int, seed: int = 0, paired: bool = True,
           films: list[np.ndarray] | None = None, shuffle: float = 0) -> Iterator[tuple[int, str, np.ndarray]]:
    """For each number of pictures and measure its values over drawn subsets, (draws,); C2ST over the first SLOW.

    Subsets take the sounds of the takes in turn; diversity compares the first two takes. `shuffle` percent of a
    subset's pictures exchange their sounds among themselves, so that all its sounds together stay the same.
    """
    total = len(takes[0].logits)
    pairs = [judge.pairs(made, films and films[turn]) for turn, made in enumerate(takes)] if paired else []
    if paired and len(takes) > 1:
        each = sounds.diversity(np.stack([takes[0].features, takes[1].features], 1))
        pairs = [one | {"diversity": each} for one in pairs]
    for n in sizes:
        found: dict[str, list[float]] = {}
        for number in range(draws if n < total else len(takes)):
            dice, turn = np.random.default_rng([seed, n, number]), number % len(takes)
            chosen = dice.permutation(total)
            rows, partners = np.sort(chosen[:n]), None
            if not paired:  # two halves of one folder
                rows, partners = chosen[:n], chosen[n : 2 * n]
            one = judge.clouds(takes[turn], rows, number < SLOW, partners)
            if shuffle:
                one |= _shuffled(judge, takes, turn, rows, ROWS["pairs shuffled"].spoil(rows, shuffle, dice), films)
            elif paired:
                one |= judge.together(takes[turn], rows)
                one |= {name: float(np.nanmean(each[rows])) for name, each in pairs[turn].items()}
            for name, value in one.items():
                found.setdefault(name, []).append(value)
        yield from ((n, name, np.array(each)) for name, each in found.items())


def _shuffled(judge: Judge, takes: list[Heard], turn: int, rows: np.ndarray, order: np.ndarray,
              films: list[np.ndarray] | None) -> dict[str, float]:
    """What is measured of a subset's pairs when its pictures have exchanged their sounds in an order."""
    own, made = judge.only(rows), takes[turn].rows(rows[order])
    others = [take.features[rows] for take in takes[:2]]
    others[0] = others[0][order]  # each take is shuffled in its own way: here the first alone
    found = own.together(made, np.arange(len(rows))) | {"diversity": float(sounds.diversity(np.stack(others, 1)).mean())}
    each = own.pairs(made, films and films[turn][rows])
    return found | {name: float(np.nanmean(one)) for name, one in each.items()}


# --------------------------------------------------------------------------------------------------- the whole table


def thresholds(clean: Iterable[tuple[int, str, np.ndarray]]) -> dict[tuple[int, str], tuple[float, float]]:
    """By number of pictures and measure, which values are better than nearly all clean ones, and which are worse."""
    return {(n, name): tuple(np.nanquantile(each if BETTER[name] else -each, [1 - ALPHA, ALPHA]))
            for n, name, each in clean}


def tell(defect: str, dose: float, found: Iterable[tuple[int, str, np.ndarray]], limits: dict) -> Iterator[dict]:
    """A row of the table for each number of pictures and measure."""
    for n, name, each in found:
        better, worse = limits[n, name]
        good = each if BETTER[name] else -each
        yield {"defect": defect, "dose": dose, "measure": name, "n": n, "subsets": len(each), "mean": np.nanmean(each),
               "sd": np.nanstd(each), "worse": (good < worse).mean(), "better": (good > better).mean()}


def sizes_of(size: int) -> list[int]:
    return [n for n in (*SEEN, size) if n <= size]


@dataclass(frozen=True)
class Task:
    """One defect at one dose, for a process of its own."""

    size: int
    draws: int
    defect: str
    dose: float

    def rows(self) -> list[dict]:
        """Its part of the table, from disk if it was measured before."""
        pool = _pool(self.size)
        path = KEPT / (key(task=self, measures=[sha256(Path(__file__)), *MEASURES], made_by=pool.made_by,
                           clip=state_sha256(pool.stack.vision.model))[:24] + ".json")
        if not path.is_file():
            write_file(path, json.dumps(self._measured()))
        return json.loads(path.read_text())

    def _measured(self) -> list[dict]:
        pool, numbers = _pool(self.size), (3, 4) if self.defect == ALARM else TAKES
        shuffle = self.dose if self.defect == "pairs shuffled" else 0
        if self.defect == OTHERS:
            takes = [pool.other_scenes(take) for take in numbers]
        elif self.defect in (CLEAN, ALARM) or shuffle:
            takes = [pool.true(take) for take in numbers]
        else:
            takes = [pool.heard(self.defect, self.dose, take) for take in numbers]
        found = values(_judge(pool), takes, sizes_of(self.size), self.draws, int(self.defect != CLEAN),
                       films=[_films(self.size, take) for take in numbers], shuffle=shuffle)
        return list(tell(self.defect, self.dose, found, _limits(self.size, self.draws)))


@cache
def _pool(size: int) -> Pool:
    torch.set_num_threads(1)
    return Pool(size)


def _judge(pool: Pool) -> Judge:
    return Judge(pool.true(0), pool.stack.tagger.names, pool.labels, pool.scenes, pool.visual)


@cache
def _films(size: int, take: int) -> np.ndarray:
    return _pool(size).films(take)


@cache
def _limits(size: int, draws: int) -> dict:
    """What true sounds stay within, from twice as many subsets as a defect is judged by."""
    pool = _pool(size)
    return thresholds(values(_judge(pool), [pool.true(take) for take in TAKES], sizes_of(size), 2 * draws,
                             films=[_films(size, take) for take in TAKES]))


def table(size: int, draws: int, workers: int) -> pd.DataFrame:
    """Every defect at every dose through every measure."""
    tasks = [Task(size, draws, name, 0) for name in (CLEAN, ALARM, OTHERS)]
    tasks += [Task(size, draws, name, dose) for name, (doses, _) in DEFECTS.items() for dose in doses]
    with ProcessPoolExecutor(workers) as processes:
        rows = [row for found in tqdm(processes.map(Task.rows, tasks), "defects and doses", len(tasks)) for row in found]
    found = pd.DataFrame(rows)
    found.insert(2, "unit", found.defect.map({name: unit for name, (_, unit) in DEFECTS.items()}))
    return found


# ---------------------------------------------------------------------------------------------------------- tricks


def average(waves: list[np.ndarray]) -> np.ndarray:
    """All takes at once, at the level of one."""
    mean = np.mean(waves, axis=0)
    return mean * np.sqrt(np.mean([(wave**2).mean() for wave in waves]) / max((mean**2).mean(), 1e-12))


def sharpen(wave: np.ndarray, power: float = 1.5) -> np.ndarray:
    """What is strong in the spectrogram made stronger, what is weak weaker, at the level it had."""
    spectrum = librosa.stft(wave, n_fft=1024, hop_length=256)
    sharp = librosa.istft(spectrum * np.abs(spectrum) ** (power - 1), hop_length=256, n_fft=1024, length=len(wave))
    return sharp * np.sqrt((wave**2).mean() / max((sharp**2).mean(), 1e-12))


def tricks(pool: Pool, judge: Judge, takes: int = 8) -> Iterator[tuple[str, list[Heard]]]:
    """Cheap ways to a better number that make no system better: name, and two takes of what comes of it."""
    every = [pool.true(10 + number) for number in range(2 * takes)]

    def best(score: Callable[[Heard], np.ndarray]) -> list[Heard]:
        chosen = []
        for half in (every[:takes], every[takes:]):
            marks = np.stack([score(one) for one in half])
            chosen.append(join(half).rows(marks.argmax(0) * pool.size + np.arange(pool.size)))
        return chosen

    def sure(one: Heard) -> np.ndarray:
        shares = np.exp(one.logits - one.logits.max(1, keepdims=True))
        return (shares / shares.sum(1, keepdims=True)).max(1)

    def right(one: Heard) -> np.ndarray:
        rows = np.arange(pool.size)
        columns = [judge.names.index(label) for label in pool.labels]
        return one.logits[rows, columns] - np.log(np.exp(one.logits).sum(1))

    yield f"best of {takes} by CS", best(lambda one: sounds.clip_scores(pool.visual, one.clip))
    yield f"best of {takes} by the tagger's class", best(right)
    yield f"best of {takes} by the tagger's certainty", best(sure)
    closest = pool.visual @ pool.training.clip.T
    yield "nearest training sound by CS", [pool.training.rows(closest.argmax(1)),
                                           pool.training.rows(np.argsort(-closest, 1)[:, 1])]
    yield "training sounds repeated", [pool.heard("memorised", MEMORISED.doses[2], take) for take in (1, 2)]
    for name, make in {"mean of 4 takes": lambda scene, take: average(
                           [synthesise(other_take(scene, 4 * take + number)) for number in range(4)]),
                       "sharpened": lambda scene, take: sharpen(synthesise(other_take(scene, take))),
                       "at one loudness": lambda scene, take: even_loudness(synthesise(other_take(scene, take)))}.items():
        yield name, [pool.kept(name, 0, take, lambda scene, step, dice, take=take, make=make: make(scene, take))
                     for take in (1, 2)]


def tricks_table(size: int, draws: int) -> pd.DataFrame:
    """Every trick through every measure, beside true sounds."""
    pool, limits = _pool(size), _limits(size, draws)
    judge, n = _judge(pool), [n for n in SEEN if n <= size][-1:]
    found = [("true sounds", [pool.true(1), pool.true(2)]), *tqdm(tricks(pool, judge), "tricks")]
    return pd.DataFrame([row for name, takes in found for row in
                         tell(name, 0, values(judge, takes, n, draws, 1), limits)]).drop(columns="dose")


# ------------------------------------------------------------------------------------------------------ real sounds


def real_table(folder: Path, draws: int) -> pd.DataFrame:
    """The defects of the signal on any sounds, cut into pieces of SoundWorld's length, by clouds alone."""
    stack = load_stack("mini")
    waves = np.stack([piece for path in sorted(folder.rglob("*")) if path.suffix.lower() in (".wav", ".mp3", ".flac")
                      for piece in _pieces(path)])
    n = [len(waves) // 2]
    judge = Judge(truth := listen(stack, waves, None), stack.tagger.names)
    limits = thresholds(values(judge, [truth], n, 2 * draws, paired=False))
    rows = list(tell(ALARM, 0, values(judge, [truth], n, draws, 1, paired=False), limits))
    todo = [(name, defect, dose) for name, defect in SIGNALS.items() for dose in defect.doses]
    for name, defect, dose in tqdm(todo, f"{len(waves)} pieces of real sounds"):
        rows += tell(name, dose, values(judge, [_spoilt(stack, waves, defect, dose)], n, draws, 1, paired=False), limits)
    return pd.DataFrame(rows)


def _spoilt(stack: Stack, waves: np.ndarray, defect: Defect, dose: float) -> Heard:
    return listen(stack, np.stack([defect.spoil(wave.astype(np.float64), dose, np.random.default_rng(row))
                                   for row, wave in enumerate(waves)]), None)


def _pieces(path: Path) -> list[np.ndarray]:
    """What is not silent of a sound, in pieces of SoundWorld's length."""
    wave, rate = read_audio(path)
    wave = np.asarray(resample(wave, rate, SAMPLE_RATE), np.float32)
    pieces = wave[: len(wave) // NUM_SAMPLES * NUM_SAMPLES].reshape(-1, NUM_SAMPLES)
    return [piece for piece in pieces if np.sqrt((piece**2).mean()) > 1e-3]


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit", description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=1000, help="with two sounds each (default: 1000)")
    parser.add_argument("--draws", type=int, default=100, help="subsets of each number of pictures (default: 100)")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--real", type=Path, help="a folder of sounds: repeat the defects of the signal on them alone")
    parser.add_argument("--out", type=Path, default=Path("out/results"), help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="80 pictures and 10 subsets: whether it runs")
    options = parser.parse_args()
    size, draws = (80, 10) if options.quick else (options.pictures, options.draws)
    if options.real:
        return _write(real_table(options.real, draws), options.out / "audit_real.csv")
    _write(table(size, draws, options.workers), options.out / "audit.csv")
    _write(tricks_table(size, draws), options.out / "tricks.csv")


def _write(found: pd.DataFrame, path: Path) -> None:
    for column in ("mean", "sd", "worse", "better"):
        found[column] = [float(f"{value:.4g}") for value in found[column]]
    write_table(found, path)
    print(path)


if __name__ == "__main__":
    main()
