"""Builds a text bridge, the mapper `words`, from sentences and sounds of your choice.

In: a text file, a folder of sounds or a store. Out: a mapper. Embeddings are cached, by the weights that made them.
"""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tqdm.auto import tqdm

from v2a_utils.data.audio import HEARING_RATE, SOUNDS, audible, load_audio
from v2a_utils.data.files import DATA, cache_folder, key, sha256
from v2a_utils.data.store import Store
from v2a_utils.mappers.words import WordsBridge
from v2a_utils.models.weights import state_sha256, write_tensors
from v2a_utils.stacks.stack import Stack

VOCABULARIES = DATA / "vocabularies"
OWN_WORDS = {"mini": ("soundworld",), "paper": ("vggsound", "audioset")}  # files of VOCABULARIES
KEPT = 5  # sentences that speak for a photograph, see WordsBridge
START_SCALE = 1 / 0.07  # CLIP's and CLAP's before training; stored, but not used, where there are no sounds
BATCH = 256  # sentences embedded at once
FILES = 64  # sounds embedded at once and kept together

Sentences = list[tuple[str, str]]  # what CLIP and CLAP read, with one meaning


def build_bridge(stack: Stack, words: Sentences, sounds: np.ndarray | None, form: str = "mean") -> WordsBridge:
    """A bridge over sentences and CLAP embeddings of sounds (n, d), at the scales that the encoders learned."""
    seen, heard = embed_sentences(stack, words)
    sounds = np.zeros((0, heard.shape[1]), np.float32) if sounds is None else sounds
    if sounds.shape[1] != heard.shape[1]:
        raise ValueError(f"sounds of {sounds.shape[1]} dimensions do not fit this CLAP, which has {heard.shape[1]}")
    audio_scale = float(stack.audio.model.logit_scale_a.detach().exp()) if len(sounds) else START_SCALE
    bridge = WordsBridge(seen.shape[1], heard.shape[1], words, len(sounds),
                         float(stack.vision.model.logit_scale.detach().exp()), audio_scale, form,
                         None if stack.config.draws else KEPT)
    bridge.load_state_dict({name: torch.from_numpy(np.asarray(value, np.float32))
                            for name, value in (("seen", seen), ("heard", heard), ("sounds", sounds))})
    return bridge.to(stack.device).eval()


# --------------------------------------------------------------------------------------------------------- sentences


def read_sentences(path: str | Path) -> Sentences:
    """The sentences of a text file, one per line for both encoders, or one for CLIP, a tab and one for CLAP.

    Skips empty lines, repeated ones and those that begin with #. ValueError for a file that is not UTF-8 text or has no
    sentence, and for a line with an empty part or more than two.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a text file of sentences that can be read ({error})") from error
    found = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = [part.strip() for part in line.split("\t")]
        if len(parts) > 2 or not all(parts):
            raise ValueError(f"{path}: line {number} has an empty part or more than two; give one sentence, or one for "
                             "pictures, a tab and one for sounds")
        found[parts[0], parts[-1]] = None
    if not found:
        raise ValueError(f"{path}: no sentence in it; write one per line")
    return list(found)


def embed_sentences(stack: Stack, words: Sentences) -> tuple[np.ndarray, np.ndarray]:
    """Unit-norm embeddings by CLIP (n, visual_dim) and by CLAP (n, audio_dim), cached."""
    seen, heard = zip(*words)
    clip, clap = (weights_sha256(stack.place(part)) for part in ("clip", "words"))
    return (_cached([clip, *seen], lambda: _batched(stack.vision.embed_texts, seen), len(seen)),
            _cached([clap, *heard], lambda: _batched(stack.embed_words, heard), len(heard)))


def _batched(embed: Callable[[list[str]], np.ndarray], sentences: tuple[str, ...]) -> np.ndarray:
    starts = range(0, len(sentences), BATCH)
    return np.concatenate([embed(list(sentences[start : start + BATCH]))
                           for start in tqdm(starts, "sentences", unit="batch", disable=len(starts) < 8)])


def weights_sha256(place: Path) -> str:
    """SHA-256 of a weights file, or of all weights files in a folder."""
    if place.is_file():
        return sha256(place)
    files = sorted(path for path in place.iterdir() if path.suffix in (".safetensors", ".bin", ".pt"))
    return hashlib.sha256(" ".join(sha256(path) for path in files).encode()).hexdigest()


# ------------------------------------------------------------------------------------------------------------ sounds


def unpaired_sounds(stack: Stack, place: str | Path) -> np.ndarray:
    """Unit-norm CLAP embeddings (n, d) of the sound files in a folder, at any depth, or those of a store.

    Files that cannot be read are left out with a message. ValueError for no sounds, or a store of another CLAP.
    """
    store = Store(place)
    if ("://" in str(place) or Path(place).is_dir()) and store.shards():
        if store.settings.get("clap_sha256") != state_sha256(stack.audio.model):
            raise ValueError(f"{place}: was embedded by another CLAP than the {stack.name} stack's; embed it again")
        return store.numpy("audio")
    files = sound_paths(place)
    if not files:
        raise ValueError(f"{place}: neither a folder with sound files nor a store of embeddings")
    clap = state_sha256(stack.audio.model)
    batches = [files[start : start + FILES] for start in range(0, len(files), FILES)]
    rows = np.concatenate([
        _cached([clap, *map(_version, batch)], lambda batch=batch: _embed_files(stack, batch), len(batch))
        for batch in tqdm(batches, f"sounds of {place}", unit="batch", disable=len(batches) < 2)])
    if not len(rows):
        raise ValueError(f"{place}: none of its {len(files)} sound files could be read")
    return rows


def sound_paths(place: str | Path) -> list[Path]:
    """The sound files in a folder, at any depth, without hidden ones."""
    return sorted(path for path in Path(place).rglob("*") if path.suffix.lower() in SOUNDS and path.name[0] != ".")


def _version(path: Path) -> str:
    """Tells a file from every other, and from its own earlier versions."""
    return f"{path.absolute()} {path.stat().st_size} {path.stat().st_mtime_ns}"


def _embed_files(stack: Stack, files: Iterable[Path]) -> np.ndarray:
    waves = []
    for path in files:
        try:
            heard = load_audio(path, HEARING_RATE, stack.audio.clip_samples / stack.audio.sample_rate)
            waves.append(audible(heard, path))
        except ValueError as error:
            tqdm.write(f"left out: {error}")
    return stack.audio.embed_audio(waves, HEARING_RATE)


# ------------------------------------------------------------------------------------------------------------- cache


def _cached(names: list[str], compute: Callable[[], np.ndarray], rows: int) -> np.ndarray:
    """The array kept under the names of all that made it, computed if it is not there.

    One that lacks some of its `rows` is not kept: the next run names again what could not be read.
    """
    path = cache_folder("words") / f"{key(embeddings_of=names)[:32]}.safetensors"
    if path.is_file():
        return load_file(path)["embeddings"].numpy()
    found = compute()
    if len(found) == rows:
        write_tensors(path, {"embeddings": torch.from_numpy(found)})
    return found
