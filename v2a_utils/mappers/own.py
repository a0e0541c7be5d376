"""Your own mapper: trained on pairs, stopped early and measured on held-out ones, written as a complete folder.

    FOLDER/config.json, model.safetensors   the mapper, and the SHA-256 of the CLIP and the CLAP that it joins
    FOLDER/recipe.json, validation.json     how it was trained, and how it did on pairs that it never saw
    FOLDER/familiarity.safetensors          which pictures are like those that it was trained on
    FOLDER/learned.txt                      the ids of all clips that it learned from or was chosen by, one a line
    FOLDER/README.md                        the model card
    FOLDER/checkpoint.pt                    where a killed training resumes; may be deleted when it is done
"""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from v2a_utils.data.files import DATA, refuse_existing, write_file, write_json
from v2a_utils.data.pairs import Pairs
from v2a_utils.mappers.recipes import Recipe, build
from v2a_utils.mappers.registry import ENCODER_SUMS, against_constant, save_mapper
from v2a_utils.mappers.training import Validation, is_main_process, train_mapper
from v2a_utils.metrics import gap
from v2a_utils.metrics.sounds import Interval, student_interval
from v2a_utils.models.clip import Familiarity
from v2a_utils.options import TRAINING

JUDGED = 2000  # validation pairs at most, evenly spread: ranking them is quadratic
LEARNED = "learned.txt"
CLOUD = 50  # with fewer pairs a cloud has no shape to measure
NOISED = 1024  # rows over which the validation loss is averaged; few pairs get several noises each


def train_on_pairs(pairs: Pairs, recipe: Recipe, out: Path, device: str = "cpu",
                   callback=None, overwrite: bool = False) -> tuple[nn.Module, dict[str, Interval]]:
    """Train a mapper and write its folder `out`; returns it with its measures on the validation pairs.

    The weights with the lowest validation loss are kept, and the training ends when that has stopped falling. A killed
    run resumes from checkpoint.pt. `callback(mapper, losses)` is called after every validation. FileExistsError, before
    anything is trained, for files of another training, unless `overwrite`; ValueError for the checkpoint of another.
    """
    if overwrite:
        (out / "checkpoint.pt").unlink(missing_ok=True)
    elif not (out / "checkpoint.pt").is_file():
        refuse_existing((out / name for name in TRAINING), overwrite)
    held_out = tuple(_spread(rows) for rows in pairs.val)
    mapper = build(recipe, pairs.train[0].shape[1], pairs.train[1].shape[1])
    validation = Validation(lambda averaged: validate(averaged, *held_out), "validation loss", recipe.train.patience,
                            callback)
    origin = {"data": pairs.sha256, "sizes": repr(sorted(recipe.sizes.items()))}
    train_mapper(mapper, *pairs.train, recipe.train, out / "checkpoint.pt", device, validation, origin)
    last = validation.history[-1]["step"] if validation.history else recipe.train.steps
    if last < recipe.train.steps:
        tqdm.write(f"stopped at step {last} of {recipe.train.steps}: the validation loss had not fallen for "
                   f"{recipe.train.patience} validations")
    numbers = measure(mapper, *held_out, pairs.train[1].mean(0))
    if is_main_process():
        _write(mapper, pairs, recipe, validation, numbers, out)
    return mapper, numbers


def _spread(rows: np.ndarray) -> np.ndarray:
    """At most JUDGED rows, evenly spread: listings are sorted, so the first rows would cover a few classes."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), JUDGED)).astype(int))]


def validate(mapper: nn.Module, visual: np.ndarray, audio: np.ndarray) -> dict[str, float]:
    """How near mapped embeddings come to the true ones of held-out pairs; from CLOUD pairs on also how well they
    retrieve them and how near the two clouds are."""
    mapped = mapper.map(visual)
    numbers = {"validation loss": validation_loss(mapper, visual, audio),
               "cosine": float(np.sum(mapped * audio, axis=1).mean())}
    if len(visual) >= CLOUD:
        numbers |= {"recall@10": gap.recall(gap.retrieval_ranks(mapped, audio)),
                    "Fréchet distance": gap.frechet_distance(mapped, audio),
                    "centroid distance": gap.centroid_distance(mapped, audio)}
    return numbers


@torch.inference_mode()
def validation_loss(mapper: nn.Module, visual: np.ndarray, audio: np.ndarray) -> float:
    """The training's objective on held-out pairs, with the same noise every time.

    Only a mapper that draws noise sees a pair several times: to a contrastive objective it would be its own negative.
    """
    times = max(NOISED // len(visual), 1) if hasattr(mapper, "add_noise") else 1
    place = next(mapper.parameters()).device
    rows = (torch.from_numpy(np.repeat(one, times, 0)).to(place) for one in (visual, audio))
    return float(mapper.loss(*rows, torch.Generator().manual_seed(0)))


def measure(mapper: nn.Module, visual: np.ndarray, audio: np.ndarray, constant: np.ndarray) -> dict[str, Interval]:
    """Measures on held-out pairs with Student's 95% intervals over the pairs, wide enough for a handful.

    "cosine" is between each mapped picture and its own sound; "margin" is that minus the mean cosine with all sounds;
    "above constant" is by how much it exceeds that of one answer to all, `constant` (d,), the training sounds' mean.
    """
    cosines = mapper.map(visual) @ audio.T
    own = np.diag(cosines)
    numbers = {"cosine": own, "margin": own - cosines.mean(1),
               "above constant": own - audio @ constant / np.linalg.norm(constant)}
    return {name: student_interval(values).within(-1, 1) for name, values in numbers.items()}


def how_sure(numbers: dict[str, Interval]) -> str:
    """What the validation pairs can tell, in a line or two."""
    cosine, margin, above = (numbers[name] for name in ("cosine", "margin", "above constant"))
    pairs = f"{cosine.n} pair{'s' * (cosine.n != 1)}"
    lines = [f"on {pairs} that it never saw: cosine {cosine} to the own sound, {margin} above the mean of all their "
             "sounds (95% intervals)"]
    if margin.low <= 0:
        lines.append(f"{pairs} cannot tell whether it gives a picture its own sound rather than another's")
    lines.append(f"{against_constant(above)} one constant answer for all pictures: {above} in cosine")
    return "\n".join(lines)


def _write(mapper: nn.Module, pairs: Pairs, recipe: Recipe, validation: Validation, numbers: dict[str, Interval],
           out: Path) -> None:
    """Write the folder; config.json, which makes it a mapper's, comes last."""
    Familiarity.fit(pairs.train[0], pairs.val[0]).save(out / "familiarity.safetensors")
    write_json(out / "recipe.json", asdict(recipe))
    write_json(out / "validation.json", {
        "pairs": len(pairs.val[0]), "step": validation.best_step,
        "numbers": {name: value._asdict() for name, value in numbers.items()}, "history": validation.history})
    write_file(out / LEARNED, "\n".join(pairs.ids))
    write_file(out / "README.md", model_card(mapper, pairs, recipe, validation, numbers))
    save_mapper(mapper, out, {name: pairs.settings[name] for name in ENCODER_SUMS if name in pairs.settings},
                overwrite=True)


def model_card(mapper: nn.Module, pairs: Pairs, recipe: Recipe, validation: Validation,
               numbers: dict[str, Interval]) -> str:
    """README.md of a mapper's folder: data, numbers, use, licence."""
    size = sum(parameter.numel() for parameter in mapper.parameters())
    known = [part for part in ("clip", "clap") if part in pairs.settings]
    joins = " and ".join(f"{pairs.settings[part]} (SHA-256 {pairs.settings[part + '_sha256'][:12]})" for part in known)
    joins = joins or "encoders that the table did not name"
    notes = "".join(f"* {note}\n" for note in pairs.notes)
    return (DATA / "tables/model_card.md").read_text().format(
        kind=recipe.mapper, size=size, joins=joins, table=Path(pairs.name).name, sha256=pairs.sha256, notes=notes,
        train=len(pairs.train[0]), val=len(pairs.val[0]), numbers=how_sure(numbers).replace("\n", "; "),
        best=validation.best_step, last=validation.history[-1]["step"])
