"""Which bridge without pairs is best, and what may it lack? One ingredient changed at a time.

`python -m benchmarks.bridges` writes bridges.csv, from which notebook 06 draws: embeddings only, pictures
and sounds of SoundWorld's test split to judge by. No way here sees a picture together with its sound. Alignment without
words needs the library POT (`pip install POT`) and is left out without it.
"""

import argparse
import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.optimize import linear_sum_assignment
from scipy.special import softmax
from soundworld import CLASSES, class_prompt, make_scene, picture_caption, sound_caption
from soundworld.captions import COUNTS, DISTANCES, PITCHES, SIZES, SOUNDS, noun
from tqdm.auto import tqdm

from benchmarks.pairs import Map, measures
from v2a_utils.data.files import write_table
from v2a_utils.mappers.bridge import VOCABULARIES, Sentences, build_bridge, read_sentences
from v2a_utils.mappers.recipes import RECIPES, build
from v2a_utils.mappers.registry import words_bridge
from v2a_utils.mappers.training import train_mapper
from v2a_utils.mappers.words import WordsBridge
from v2a_utils.metrics.sounds import unit_norm
from v2a_utils.stacks.extraction import embed_world
from v2a_utils.stacks.stack import Stack, load_stack

CAPTION_SEED = 22  # of scenes that exist in captions only, neither drawn nor played
MANY = 3000  # sentences of the ablation of their number


def main() -> None:
    """Measure every bridge and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bridges", description=__doc__.splitlines()[0])
    parser.add_argument("--held-out", type=int, default=512, help="test pairs to judge by (default: 512)")
    parser.add_argument("--pictures", type=int, default=2000, help="unpaired pictures of `train` (default: 2000)")
    parser.add_argument("--steps", type=int, default=1500,
                        help="of training on pseudo pairs; 0 leaves them out (default: 1500)")
    parser.add_argument("--out", type=Path, default=Path("out/results/bridges.csv"), help="the table (default: %(default)s)")
    options = parser.parse_args()
    stack = load_stack("mini")
    test, train = embed_world(stack, "test", options.held_out), embed_world(stack, "train", options.pictures)
    names = stack.audio.embed_texts([class_prompt(name, "sound") for name in CLASSES])
    judge = partial(measures, test.visual, test.audio, test.scenes, names)
    ways = [*vocabularies(stack), *numbers(stack), *temperatures(stack), *methods(stack),
            *pseudo_pairs(stack, train.visual, options.steps), *without_words(stack, test.visual)]
    rows = [{"group": group, "name": name, "sentences": sentences, "sounds": sounds, "n": options.held_out} | judge(way)
            for group, name, sentences, sounds, way in tqdm(ways, "bridges")]
    table = pd.DataFrame(rows)
    write_table(table, options.out)
    print(table.round(3).to_string(index=False))


Way = tuple[str, str, int, int, Map]  # group, name, sentences, sounds, map


def way(group: str, name: str, bridge: WordsBridge, **settings) -> Way:
    """A bridge as a row of the table."""
    return group, name, len(bridge.sentences), len(bridge.sounds), partial(bridge.map, **settings)


# ------------------------------------------------------------------------------------------------------------- words


def grammar(counts: bool, distances: bool, sizes: bool = False) -> Sentences:
    """Sentences about every class with these attributes, the same for both encoders; with sizes, what looks
    large sounds low."""
    return [
        (f"the sound of {count} {size}{noun(name, number)} {SOUNDS[name][0]}{distance}",
         f"the sound of {count} {pitch}{noun(name, number)} {SOUNDS[name][0]}{distance}")
        for name in CLASSES for number, count in enumerate(("a", *COUNTS[1:]) if counts else ("a",), start=1)
        for size, pitch in (zip([f"{size} " for size in SIZES], [f"{pitch} " for pitch in PITCHES])
                            if sizes else [("", "")])
        for distance in ([f" {distance}" for distance in DISTANCES] if distances else [""])
    ]


def told(number: int, seen, heard) -> Sentences:
    """Pairs of captions of `number` scenes, which nobody sees or hears."""
    scenes = [make_scene("train", index, CAPTION_SEED) for index in range(number)]
    return [(seen(scene), heard(scene)) for scene in scenes]


def vocabularies(stack: Stack) -> Iterator[Way]:
    """How plain may the words be, and must they be one sentence for both?"""
    duets = read_sentences(VOCABULARIES / "soundworld.txt")[300:]
    lists = {
        "class names": grammar(False, False), "names, a prompt for each": [
            (class_prompt(name, "picture"), class_prompt(name, "sound")) for name in CLASSES],
        "names and counts": grammar(True, False), "names and distances": grammar(False, True),
        "names, counts, distances": grammar(True, True), "the same and duets (shipped)": grammar(True, True) + duets,
        "and sizes told as pitches": grammar(True, True, True) + duets,
        "sound captions for both": told(2000, sound_caption, sound_caption),
        "picture captions for both": told(2000, picture_caption, picture_caption),
        "caption pairs of one scene": told(2000, picture_caption, sound_caption),
    }
    for name, words in lists.items():
        yield way("words", name, words_bridge(stack, words))


def numbers(stack: Stack) -> Iterator[Way]:
    """How many sentences, how many sounds?"""
    shipped, rng = words_bridge(stack), np.random.default_rng(0)
    captions = told(MANY, sound_caption, sound_caption)
    for number in (30, 100, 300, 1000, MANY):
        yield way("number of sentences", f"{number}", words_bridge(stack, captions[:number]))
    sounds, words = shipped.sounds.cpu().numpy(), read_sentences(VOCABULARIES / "soundworld.txt")
    for number in (30, 100, 300, 1000, 2000):
        chosen = sounds[rng.permutation(len(sounds))[:number]]
        yield way("number of sounds", f"{number}", build_bridge(stack, words, chosen))


# ----------------------------------------------------------------------------------------------------------- methods


def temperatures(stack: Stack) -> Iterator[Way]:
    """The encoders' own scales, and others."""
    for seen, heard in [(0.25, 1), (0.5, 1), (1, 1), (2, 1), (4, 1), (1, 0.25), (1, 0.5), (1, 2), (1, 4)]:
        bridge = words_bridge(stack)
        bridge.config["visual_scale"] *= seen
        bridge.config["audio_scale"] *= heard
        yield way("temperature", f"CLIP's scale x {seen:g}, CLAP's x {heard:g}", bridge)


def methods(stack: Stack) -> Iterator[Way]:
    """From the words alone to the posterior over sounds, over class names and over the shipped sentences."""
    yield from methods_over("names", words_bridge(stack, grammar(False, False)))
    yield from methods_over("sentences", words_bridge(stack))


def methods_over(words: str, bridge: WordsBridge) -> Iterator[Way]:
    """The methods with one bridge's words and sounds."""
    heard, sounds = bridge.heard.cpu().numpy(), bridge.sounds.cpu().numpy()
    shift, scale = sounds.mean(0) - heard.mean(0), bridge.config["audio_scale"]

    def row(name: str, answers: np.ndarray, sharp: bool = False) -> Way:
        def mapped(visual: np.ndarray) -> np.ndarray:
            shares = bridge.attention(visual)
            return unit_norm((np.eye(len(answers))[shares.argmax(1)] if sharp else shares) @ answers)
        return f"method, {words}", name, len(heard), len(sounds), mapped

    yield row("words alone", heard)
    yield row("words, centroid shifted (C3)", heard + shift)
    yield row("nearest sentence, nearest sound", sounds[(heard @ sounds.T).argmax(1)], sharp=True)
    yield row("softmax over sounds (first try)", softmax(scale * heard @ sounds.T, 1) @ sounds)
    yield row("the same, centroid shifted", softmax(scale * unit_norm(heard + shift) @ sounds.T, 1) @ sounds)
    yield way(f"method, {words}", "Bayes over sounds, mean (shipped)", bridge)
    for draws in (1, 4):
        yield way(f"method, {words}", f"Bayes over sounds, {draws} draw(s)", bridge, form="draw", draws=draws)


def pseudo_pairs(stack: Stack, visual: np.ndarray, steps: int) -> Iterator[Way]:
    """Mappers trained on what the bridge makes of unpaired pictures, or of sentences in the pictures' cloud (C3)."""
    if not steps:
        return
    bridge, rng = words_bridge(stack), np.random.default_rng(0)
    drawn = bridge.map(visual, 1, "draw")
    rows = rng.integers(len(bridge.sentences), size=len(visual))
    seen = bridge.seen.cpu().numpy()
    moved = seen[rows] - seen.mean(0) + visual.mean(0)
    noise = (visual - visual.mean(0)).std() * rng.standard_normal(moved.shape)
    told = unit_norm(moved + 0.5 * noise)
    shares = bridge._sounds_of(torch.from_numpy(rows)).numpy()
    heard = bridge.sounds.numpy()[[rng.choice(len(share), p=share / share.sum()) for share in shares.astype(float)]]
    for name, inputs, targets in (("pictures, sounds drawn by the bridge", visual, drawn),
                                  ("sentences moved among pictures, with noise (C3)", told, heard)):
        for kind in ("regression", "diffusion"):
            recipe = RECIPES["mini"][kind]
            config = replace(recipe.train, steps=steps)
            mapper = build(replace(recipe, train=config), visual.shape[1], heard.shape[1])
            train_mapper(mapper, inputs, targets, config)
            yield "pseudo pairs", f"{kind}: {name}", len(bridge.sentences), len(bridge.sounds), mapper.map


# ----------------------------------------------------------------------------------------------------- without words


def without_words(stack: Stack, visual: np.ndarray, most: int = 256) -> Iterator[Way]:
    """Two clouds and nothing else: Gromov-Wasserstein (Alvarez-Melis and Jaakkola 2018), then rotations from it."""
    if importlib.util.find_spec("ot") is None:
        return
    import ot

    sounds = words_bridge(stack).sounds.cpu().numpy()
    pictures, some = visual[:most], sounds[:most]
    plan = ot.gromov.gromov_wasserstein(1 - pictures @ pictures.T, 1 - some @ some.T, loss_fun="square_loss")
    matched = some[plan.argmax(1)]
    turn = _rotation(pictures, matched)
    yield "no words", "Gromov-Wasserstein, then a rotation", 0, len(some), partial(_turned, turn=turn)
    for _ in range(20):  # mini-vec2vec's idea: match under the rotation, rotate to the matches
        pairs = linear_sum_assignment(-_turned(pictures, turn) @ some.T)[1]
        turn = _rotation(pictures, some[pairs])
    yield "no words", "the same, matched and rotated 20 times", 0, len(some), partial(_turned, turn=turn)


def _rotation(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    centre, target = first.mean(0), second.mean(0)
    left, _, right = np.linalg.svd((first - centre).T @ (second - target), full_matrices=False)
    return centre, left @ right, target


def _turned(rows: np.ndarray, turn: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    centre, matrix, target = turn
    return unit_norm((rows - centre) @ matrix + target)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
