"""What becomes of photographs on the mini stack: what was seen, which way it went, what the tagger hears.

    python -m benchmarks.photographs FOLDER        pictures named <class><n>.jpg, as ImageHear's

Every picture goes the way that the command `sound` sends it by default. Writes photographs.csv and prints
the shares with Wilson intervals, seconds a picture and the peak memory of the process.
"""

import resource
import sys
import time
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from v2a_utils.data.files import write_table
from v2a_utils.data.media import MediaError, load_frames
from v2a_utils.data.sources import imagehear
from v2a_utils.metrics.sounds import rate_interval
from v2a_utils.models.photo import IMAGENET
from v2a_utils.pipeline import SoundOptions, picture_to_sound
from v2a_utils.stacks.stack import Stack, load_stack


def listen(stack: Stack, path: str, label: str, options: SoundOptions) -> dict:
    """One photograph's row: `way` is photo, clip or refused."""
    row = {"picture": Path(path).stem, "class": label, "in ImageNet": label in IMAGENET}
    try:
        sound = picture_to_sound(stack, load_frames(path), options)
    except MediaError:
        names = stack.photo.see(load_frames(path)).names
        return row | {"way": "refused", "seen": names[0][0], "share": names[0][1], "heard": ""}
    seen, share = sound.words[0] if sound.words else ("", float("nan"))
    return row | {"way": "photo" if sound.words else "clip", "seen": seen, "share": share, "heard": sound.heard[0][0]}


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
    """Right class where ImageNet has one, and refusals where it has none, as intervals."""
    has = table["in ImageNet"]
    return {"right class": rate_interval((table["class"] == table["heard"])[has].to_numpy()),
            "refused": rate_interval((table["way"] == "refused")[~has].to_numpy())}


if __name__ == "__main__":
    for name, found in shares(measure(sys.argv[1], out=Path(sys.argv[2]))).items():
        print(f"{name}: {found.value:.1%} ({found.low:.1%} to {found.high:.1%}, n = {found.n})")
