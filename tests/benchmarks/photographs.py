"""What becomes of photographs on the mini stack: what was seen, which way it went, what the tagger hears.

    python -m benchmarks.photographs FOLDER             pictures named <class><n>.jpg, as ImageHear's
    python -m benchmarks.photographs FOLDER --fit MORE  first fits data/mini/photographs.safetensors anew

Every picture goes the way that the command `sound` sends it by default. Writes photographs.csv and prints the shares
with Wilson intervals, the threshold that leaving one class out asks for, what becomes of drawings, seconds a picture
and the peak memory of the process.

The fit tells SoundWorld's drawings from all other pictures: those of FOLDER and of the folders MORE, which may hold
photographs and art of any kind.
"""

import argparse
import io
import resource
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from soundworld import CLASSES, draw, make_scene
from tqdm.auto import tqdm

from v2a_utils.data.files import whole_file, write_sums, write_table
from v2a_utils.data.media import MediaError, kind_of, load_frames
from v2a_utils.data.sources import imagehear
from v2a_utils.metrics.sounds import rate_interval
from v2a_utils.models.photo import IMAGENET, PROBE, PhotoEye
from v2a_utils.pipeline import SoundOptions, is_drawn, picture_to_sound
from v2a_utils.stacks.places import MINI
from v2a_utils.stacks.stack import Stack, load_stack


def listen(stack: Stack, path: str, label: str, options: SoundOptions) -> dict:
    """One photograph's row: `way` is photo, clip or refused."""
    row = {"picture": Path(path).stem, "class": label, "in ImageNet": label in IMAGENET}
    try:
        sound = picture_to_sound(stack, load_frames(path), options)
    except MediaError:
        seen = stack.photo.see(load_frames(path))
        return row | {"way": "refused", "seen": seen.names[0][0], "chosen": "", "share": seen.best[1], "heard": ""}
    look = sound.look
    chosen, share = look.chosen or ("", float("nan"))
    return row | {"way": "photo" if look.by_classifiers else "clip", "seen": look.seen[0][0], "chosen": chosen,
                  "share": share, "heard": sound.heard[0][0]}


def measure(folder: str, options: SoundOptions = SoundOptions(), out: Path = Path("out/results/photographs.csv")) -> pd.DataFrame:
    """All photographs of a folder; the table that is also written to `out`."""
    stack, began = load_stack("mini"), time.perf_counter()
    sources = imagehear(folder).sources
    rows = [listen(stack, source.visual, source.label, options) for source in tqdm(sources, unit="photograph")]
    table = pd.DataFrame(rows)
    write_table(table, out)
    print(f"{(time.perf_counter() - began) / len(table):.2f} s a photograph, all models' loading included; peak memory "
          f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")
    return table


def shares(table: pd.DataFrame) -> dict:
    """Right class of all photographs of SoundWorld's things, wrong ones of all photographs, as intervals."""
    heard = table["way"] != "refused"
    return {"right": rate_interval((heard & (table["class"] == table["heard"]))[table["class"].isin(CLASSES)].to_numpy()),
            "wrong": rate_interval((heard & (table["class"] != table["heard"])).to_numpy())}


def thresholds(eye: PhotoEye, folder: str) -> dict[str, float]:
    """For each class left out, the lowest share at which no photograph of the other classes gets a wrong class."""
    sources = imagehear(folder).sources
    found = [(source.label, *eye.see(load_frames(source.visual)).best) for source in tqdm(sources, unit="photograph")]
    return {left_out: max((share for label, best, share in found if label not in (left_out, best)), default=0.0)
            for left_out in sorted({label for label, *_ in found})}


def fit(folders: list[str], out: Path = MINI / PROBE, drawings: int = 750) -> None:
    """Fit the probe: a logistic regression from `PhotoEye.features`, SoundWorld's drawings against all other pictures.

    Its zero lies midway between the drawing and the other picture that come nearest to it in a cross-validation; the
    farthest of 500 drawings and of 100 others count as outliers.
    """
    eye = PhotoEye.load()
    paths = [path for folder in folders for path in sorted(Path(folder).rglob("*")) if kind_of(path) == "picture"]
    others = [eye.features(load_frames(path, 1)) for path in tqdm(paths, unit="picture")]
    scenes = [make_scene("train", index) for index in range(drawings)]
    scenes += [make_scene("ood", index) for index in range(0, drawings, 3)]
    drawn = [eye.features([picture, _altered(picture, number)])
             for number, picture in enumerate(map(draw, tqdm(scenes, unit="drawing")))]
    rows, other = np.concatenate(drawn + others), np.repeat([0, 1], [2 * len(drawn), len(others)])
    model = LogisticRegression(C=300, class_weight="balanced", max_iter=5000)
    held_out = cross_val_predict(model, rows, other, cv=10, method="decision_function")
    zero = (np.quantile(held_out[other == 0], 0.998) + np.quantile(held_out[other == 1], 0.01)) / 2
    model.fit(rows, other)
    probe = {"weight": torch.tensor(model.coef_[0], dtype=torch.float32),
             "bias": torch.tensor(model.intercept_ - zero, dtype=torch.float32)}
    with whole_file(out) as temporary:
        save_file(probe, temporary)
    print(f"{out}: {2 * len(drawn)} drawings and {len(others)} other pictures; on the wrong side when held out: "
          f"{(held_out[other == 0] > zero).sum()} and {(held_out[other == 1] < zero).sum()}")


def _altered(picture: Image.Image, number: int) -> Image.Image:
    """A drawing as it may come back from elsewhere: enlarged, or as a JPEG."""
    if number % 3 < 2:
        return picture.resize((300 + 50 * (number % 5),) * 2, (Image.Resampling.BICUBIC, Image.Resampling.NEAREST)[number % 3])
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=50 + number % 45)
    return Image.open(content).convert("RGB")


def drawings(stack: Stack, split: str, count: int = 200, first: int = 1000) -> str:
    """How many drawings of a split are taken for drawings; none of them was fitted to."""
    pictures = [draw(make_scene(split, first + index)) for index in range(count)]
    drawn = np.array([is_drawn(stack, stack.vision.embed_frames([one]), partial(list, [one])) for one in pictures])
    return f"drawings of {split} taken for drawings: {100 * drawn.mean():.1f}% of {count}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("out", nargs="?", type=Path, default=Path("out/results/photographs.csv"))
    parser.add_argument("--fit", nargs="*")
    asked = parser.parse_args()
    if asked.fit is not None:
        fit([asked.folder, *asked.fit])
        write_sums(MINI)
    for name, found in shares(measure(asked.folder, out=asked.out)).items():
        print(f"{name}: {found.value:.1%} ({found.low:.1%} to {found.high:.1%}, n = {found.n})")
    eyed = load_stack("mini")
    print("largest share of a wrong class, each class left out:", thresholds(eyed.photo, asked.folder))
    print(drawings(eyed, "test"), drawings(eyed, "ood"), sep="\n")
