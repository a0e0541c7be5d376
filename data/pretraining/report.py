"""Measuring the mini stack on SoundWorld's test split: the numbers of data/mini/REPORT.md."""

import subprocess
import sys
import time
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import spearmanr
from soundworld import CLASSES, PITCHED, SAMPLE_RATE, Thing, draw, other_take, pitch, synthesise
from soundworld.captions import class_prompt
from soundworld.measures import harmonicity, measure_pitch
from v2a_pretraining.data import SIZES
from v2a_pretraining.run import TEMPERATURE

from v2a_utils.data.audio import read_audio
from v2a_utils.data.files import cache_folder, key
from v2a_utils.evaluation.settings import Method
from v2a_utils.mappers.registry import trained_mapper
from v2a_utils.metrics.gap import pair_cosines
from v2a_utils.metrics.sounds import Interval, bootstrap, diversity, frechet_distance, hits, rate_interval
from v2a_utils.models.mel import log_mel
from v2a_utils.models.vocoder import GriffinLimVocoder
from v2a_utils.pipeline import SoundOptions, map_embeddings, picture_to_sound
from v2a_utils.sound_files import BATCH, generator_key, make_files
from v2a_utils.stacks.extraction import embed_world
from v2a_utils.stacks.places import MINI
from v2a_utils.stacks.stack import Stack, load_stack

KEPT = Path("results/report")
OPTIONS = SoundOptions(steps=Method.steps, guidance=Method.guidance, candidates=1)  # the evaluation's
TEMPERATURES = (1.0, 1.5, TEMPERATURE, 2.0)
SPREAD_PAIRS, TAKES = 1000, 8  # pictures that cosine and FD are of; sounds of each whose spread is compared
PLAIN, REBUILT, CODED = (f"true log-mels through {stages}" for stages in
                         ("Griffin-Lim alone", "the vocoder", "VAE and vocoder"))


class Measured:
    """Scenes of a split with their true sounds and embeddings, and the sounds a stack makes for them."""

    def __init__(self, stack: Stack, split: str, count: int, options: SoundOptions = OPTIONS):
        self.stack, self.options, table = stack, options, embed_world(stack, split, count)
        self.scenes, self.visual, self.audio = table.scenes, table.visual, table.audio

    @cached_property
    def sounds(self) -> np.ndarray:
        """The true sounds, (n, samples)."""
        return np.stack([synthesise(scene) for scene in self.scenes])

    def sounds_for(self, title: str, conditions: np.ndarray, options: SoundOptions | None = None) -> np.ndarray:
        """Sounds (n, samples) for conditions (n, d); those of an earlier report are read."""
        options, ids = options or self.options, [scene.id for scene in self.scenes[: len(conditions)]]
        made_by = key(conditions=conditions, options=options, generator=generator_key(self.stack))
        paths = make_files(self.stack, ids, conditions[None], cache_folder("report") / made_by[:16], options, title)
        return np.stack([read_audio(path)[0] for path in paths])

    def through(self, mapper: str, count: int | None = None) -> np.ndarray:
        """Sounds of the first `count` pictures (all, if None) through a mapper."""
        return self.sounds_for(mapper, map_embeddings(self.stack, self.visual[:count], mapper))

    def right_class(self, sounds: np.ndarray) -> Interval:
        """Right class by the tagger, which neither conditions nor was tuned on generated sounds."""
        scores = self.stack.tagger.logits(list(sounds), SAMPLE_RATE)
        return rate_interval(hits(scores, list(CLASSES), self.scenes[: len(sounds)]))


class Heard(NamedTuple):
    """Single pitched things, their sounds, and the pitch in Hz measured in each."""

    things: list[Thing]
    sounds: np.ndarray
    pitches: np.ndarray


def write_report(path: Path, count: int, options: SoundOptions = OPTIONS) -> str:
    """Measure the mini stack on `count` pictures and write the report; returns its text."""
    KEPT.mkdir(parents=True, exist_ok=True)
    stack = load_stack("mini")
    test, ood = Measured(stack, "test", count, options), Measured(stack, "ood", count // 2, options)
    made = {"true CLAP embedding": test.sounds_for("true", test.audio)}
    made |= {name: test.through(name) for name in ("diffusion", "regression")}
    stages = _stages(test, made)
    sounds = {"real sounds": test.sounds, "Griffin-Lim alone": stages[PLAIN], "VAE and vocoder": stages[CODED], **made}
    heard = {name: _heard(test, waves) for name, waves in sounds.items()}
    lines = ["# The mini stack, measured", "", _introduction(stack, count, options), ""]
    lines += ["| what | measured |", "|---|---|"]
    lines += [f"| {what} | {value.percent() if isinstance(value, Interval) else value} |"
              for what, value in _rows(test, ood, made, heard, stages[REBUILT])]
    lines += ["", "## Where sounds are lost", "", *_stage_table(test, stages)]
    lines += ["", "## Per class", "", *_class_table(test, made), "", "## Pitch", *_pitch_tables(heard)]
    lines += ["", "## The mapper's spread", "", *_spread_table(Measured(stack, "val", SPREAD_PAIRS), count // 4)]
    text = "\n".join(lines) + "\n"
    path.write_text(text)
    return text


def _introduction(stack: Stack, count: int, options: SoundOptions) -> str:
    size = sum(p.stat().st_size for p in MINI.rglob("*") if p.is_file() and p.suffix != ".md") / 1e6
    return (
        f"Written by `python -m v2a_pretraining report --count {count}`. SoundWorld, splits test and ood, seed 0; "
        f"{options.steps} denoising steps, guidance {options.guidance:g}, {options.candidates} candidate(s) a sound; "
        f"{SAMPLE_RATE} Hz. \"Right class\": the tagger's first choice is in the picture; with 95% Wilson intervals. "
        f"The tagger takes no part in generation and was trained on SoundWorld's own sounds only. "
        f"Files: {size:.1f} MB."
    )


def _rows(test: Measured, ood: Measured, made: dict[str, np.ndarray], heard: dict[str, Heard], rebuilt: np.ndarray):
    stack = test.stack
    yield "mini CLIP, zero-shot class of pictures", _zero_shot(test, "picture")
    yield "mini CLIP, zero-shot class of ood pictures", _zero_shot(ood, "picture")
    yield "mini CLAP, zero-shot class of sounds", _zero_shot(test, "sound")
    yield "the tagger on real SoundWorld sounds", test.right_class(test.sounds)
    yield "true CLAP embedding -> sound, right class", test.right_class(made["true CLAP embedding"])
    yield "**picture -> sound, diffusion mapper, right class**", test.right_class(made["diffusion"])
    yield "the same on ood pictures", ood.right_class(ood.through("diffusion"))
    yield "picture -> sound, regression mapper, right class", test.right_class(made["regression"])
    unmapped = test.through("none", len(test.scenes) // 4)
    yield "picture -> sound without a mapper, right class", test.right_class(unmapped)
    for name in ("diffusion", "regression"):
        agreement = _agreement(heard[name])
        yield f"pitch against the size seen, {name}: Spearman, mean over {len(agreement) - 1} classes", (
            f"{agreement['mean']:.2f}"
        )
    yield from _vocoder(test, rebuilt)
    yield "VAE, log-mel error on real clips", f"{_vae_error(test):.3f} nats (n = 128)"
    yield "familiar pictures: test, ood", ", ".join(
        rate_interval(stack.familiarity.distance(m.visual) <= stack.familiarity.limit).percent() for m in (test, ood)
    )
    yield "one sound after loading", f"{_seconds_a_sound(test):.1f} s ({torch.get_num_threads()} threads)"
    yield "`sound one.png`, cold, whole process", f"{_seconds_cold(test):.1f} s"
    yield "training pairs", f"{SIZES['train']}"


def _stages(test: Measured, made: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What is heard after each stage of the way from a true sound to a generated one, (n, samples) each."""
    generator = test.stack.generator

    @torch.inference_mode()
    def through(*stages) -> np.ndarray:
        parts = [log_mel(part.to(test.stack.device)) for part in torch.from_numpy(test.sounds).split(BATCH)]
        for stage in stages:
            parts = [stage(part) for part in parts]
        return torch.cat(parts).cpu().numpy()

    return {
        "another true take of the same scenes": np.stack([synthesise(other_take(scene, 0)) for scene in test.scenes]),
        PLAIN: through(GriffinLimVocoder().to(test.stack.device)),
        REBUILT: through(generator.vocoder),
        CODED: through(lambda mels: generator.vae(mels[:, None]).sample[:, 0], generator.vocoder),
        "true CLAP embedding through the UNet": made["true CLAP embedding"],
        "the same, guidance 1": test.sounds_for("guidance 1", test.audio, replace(test.options, guidance=1.0)),
        "picture through the diffusion mapper": made["diffusion"],
    }


def _stage_table(test: Measured, stages: dict[str, np.ndarray]):
    """Fréchet distance by the tagger after each stage."""
    features = test.stack.tagger.features
    reference = features(list(test.sounds), SAMPLE_RATE)
    yield f"Fréchet distance by the tagger, {len(reference)} sounds against the true sounds of the same pictures."
    yield ""
    yield "| what is heard | FD |"
    yield "|---|---|"
    for name, sounds in stages.items():
        yield f"| {name} | {frechet_distance(features(list(sounds), SAMPLE_RATE), reference):.1f} |"


def _zero_shot(measured: Measured, kind: str) -> Interval:
    encoder = measured.stack.vision if kind == "picture" else measured.stack.audio
    embeddings = measured.visual if kind == "picture" else measured.audio
    prompts = encoder.embed_texts([class_prompt(name, kind) for name in CLASSES])
    return rate_interval(hits(embeddings @ prompts.T, list(CLASSES), measured.scenes))


def _vocoder(test: Measured, rebuilt: np.ndarray):
    """Mel to wave on real clips: log-mel error, and whether the tagger still hears the class."""
    error = log_mel_error(*(log_mel(torch.from_numpy(sounds)).numpy() for sounds in (rebuilt, test.sounds)))
    before, after = (test.stack.tagger.logits(list(sounds), SAMPLE_RATE).argmax(1) for sounds in (test.sounds, rebuilt))
    yield "vocoder, log-mel error on real mels", f"{error.mean():.3f} nats (n = {len(error)})"
    yield "vocoder, class kept", rate_interval(before == after)


def log_mel_error(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Mean absolute difference in nats between log-mels (n, frames, mels), per sound (n,)."""
    return np.abs(first - second).mean((1, 2))


@torch.inference_mode()
def _vae_error(test: Measured) -> float:
    mels, vae = log_mel(torch.from_numpy(test.sounds[:128])), test.stack.generator.vae
    rebuilt = torch.cat([vae(part[:, None].to(test.stack.device)).sample[:, 0].cpu() for part in mels.split(BATCH)])
    return float(log_mel_error(rebuilt.numpy(), mels.numpy()).mean())


def _heard(test: Measured, sounds: np.ndarray) -> Heard:
    rows = [row for row, scene in enumerate(test.scenes) if scene.labels[0] in PITCHED and len(scene.labels) == 1]
    things = [test.scenes[row].things[0] for row in rows]
    pitches = [measure_pitch(sounds[row], SAMPLE_RATE, thing.name) for row, thing in zip(rows, things)]
    return Heard(things, sounds[rows], np.array(pitches))


def pitch_agreement(measured: np.ndarray, implied: np.ndarray, classes: np.ndarray) -> dict[str, float]:
    """Spearman correlation between measured and implied pitch (n,), for every class and their mean ("mean").

    Within classes, so that knowing the class alone earns nothing. Classes with fewer than 5 sounds are left out.
    """
    found = {}
    for name in np.unique(classes):
        rows = (classes == name) & np.isfinite(measured)
        if rows.sum() >= 5:
            found[str(name)] = float(spearmanr(measured[rows], implied[rows]).statistic)
    return found | {"mean": float(np.mean(list(found.values())))}


def _agreement(heard: Heard) -> dict[str, float]:
    implied, names = (np.array([of(thing) for thing in heard.things]) for of in (pitch, lambda thing: thing.name))
    return pitch_agreement(heard.pitches, implied, names)


def _in_tune(heard: Heard) -> dict[str, float]:
    """Share of the sounds within a semitone of the pitch that the picture's size implies, by class and their mean."""
    implied = np.array([pitch(thing) for thing in heard.things])
    return _by_class(heard.things, np.abs(12 * np.log2(heard.pitches / implied)) <= 1)


def _harmonicities(heard: Heard) -> dict[str, float]:
    """Harmonics-to-noise ratio in dB at the pitch measured, by class and their mean."""
    return _by_class(heard.things, np.array([harmonicity(sound, SAMPLE_RATE, found)
                                             for sound, found in zip(heard.sounds, heard.pitches)]))


def _by_class(things: list[Thing], values: np.ndarray) -> dict[str, float]:
    names = np.array([thing.name for thing in things])
    found = {str(name): float(np.nanmean(values[names == name])) for name in np.unique(names)}
    return found | {"mean": float(np.mean(list(found.values())))}


def _pitch_tables(heard: dict[str, Heard]):
    """What is measured of pitch, by class; real sounds show what each measure itself can reach."""
    tables = {
        "Spearman correlation of the measured pitch with the pitch that the size implies (single things).":
            (_agreement, ".2f"),
        "Share of sounds within a semitone of that pitch.": (_in_tune, ".0%"),
        "Harmonics-to-noise ratio in dB at the measured pitch; -20 where nothing is periodic.":
            (_harmonicities, ".1f"),
    }
    for title, (measure, form) in tables.items():
        found = {name: measure(each) for name, each in heard.items()}
        yield from ("", title, "", "| class | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|")
        for name in found["real sounds"]:
            cells = " | ".join(format(values.get(name, float("nan")), form) for values in found.values())
            yield f"| {name} | {cells} |"


def _spread_table(val: Measured, pictures: int):
    """How widely the diffusion mapper's samples scatter with louder starting noise, and what it costs."""
    mapper = trained_mapper(val.stack, "diffusion")
    rows = [row for row, scene in enumerate(val.scenes) if len(scene.things) == 1][:pictures]
    sounds = [synthesise(other_take(val.scenes[row], take)) for row in rows for take in range(TAKES)]
    truth = _spreads(val.stack.audio.embed_audio(sounds, SAMPLE_RATE))
    yield (f"Scatter of {TAKES} samples of a picture over that of {TAKES} of its true sounds, the median of "
           f"{len(rows)} pictures with one thing; cosine to the true sound and Fréchet distance of embeddings, "
           f"{SPREAD_PAIRS} pictures. Split val.")
    yield from ("", "| temperature | spread | cosine | Fréchet distance |", "|---|---|---|---|")
    for temperature in TEMPERATURES:
        samples = mapper.map(np.repeat(val.visual[rows], TAKES, 0), seed=1, temperature=temperature)
        ratio = bootstrap(lambda ours, true: np.median(ours / true), _spreads(samples), truth)
        mapped = mapper.map(val.visual, temperature=temperature)
        yield (f"| {temperature:g} | {ratio} | {pair_cosines(mapped, val.audio).mean():.3f} | "
               f"{frechet_distance(mapped, val.audio):.4f} |")


def _spreads(embeddings: np.ndarray) -> np.ndarray:
    """The spread of every picture's TAKES embeddings, (pictures * TAKES, d) -> (pictures,)."""
    return diversity(embeddings.reshape(-1, TAKES, embeddings.shape[1]))


def _class_table(test: Measured, made: dict[str, np.ndarray]):
    """Right class by the class of the main thing, and the distance of the log-mel spectra's time averages."""
    labels = np.array([scene.label for scene in test.scenes])
    judged = {name: hits(test.stack.tagger.logits(list(s), SAMPLE_RATE), list(CLASSES), test.scenes)
              for name, s in {"real": test.sounds, **made}.items()}
    real = log_mel(torch.from_numpy(test.sounds)).mean(1).numpy()
    near = np.abs(log_mel(torch.from_numpy(made["true CLAP embedding"])).mean(1).numpy() - real).mean(1)
    yield "Right class; last column: mean log spectrum of the sound from the true embedding against the real one."
    yield ""
    yield "| class | n | " + " | ".join(judged) + " | spectrum error, nats |"
    yield "|---" * (len(judged) + 3) + "|"
    for name in CLASSES:
        rows = labels == name
        if rows.any():
            cells = " | ".join(f"{values[rows].mean():.0%}" for values in judged.values())
            yield f"| {name} | {rows.sum()} | {cells} | {near[rows].mean():.2f} |"


def _seconds_a_sound(test: Measured) -> float:
    pictures = [draw(scene) for scene in test.scenes[:5]]
    picture_to_sound(test.stack, pictures[:1])
    start = time.perf_counter()
    for picture in pictures:
        picture_to_sound(test.stack, [picture])
    return (time.perf_counter() - start) / 5


def _seconds_cold(test: Measured) -> float:
    draw(test.scenes[0]).save(KEPT / "one.png")
    start = time.perf_counter()
    command = [sys.executable, "-m", "v2a_utils", "sound", str(KEPT / "one.png"), "--out", str(KEPT), "--overwrite"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start
