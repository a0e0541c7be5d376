"""Write the live page into a folder: `python notebooks/book/live/build.py FOLDER`, or `make live`.

FOLDER/index.html works from disk, from a stick, from any static host: classic scripts and nothing that is fetched. What
is large lies in FOLDER/assets as scripts, each a call `put(name, "...")` with compressed bytes in base64.
"""

import base64
import gzip
import json
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from contents import drawings, map_of, mappers_of, settings_and_numbers
from networks import exported, networks
from runtime import runtime
from safetensors.numpy import save

from v2a_utils.stacks import load_stack

HERE = Path(__file__).parent
ENGINE = ("numbers", "picture", "mapper", "generator", "vocoder", "listener", "engine")  # modules of the worker
PAGE = ("numbers", "assets", "sounds", "drawing", "map", "game", "page")  # modules of the page, in their order


def asset(name: str, content: bytes) -> str:
    """A script that hands compressed bytes to the page under a name."""
    packed = base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()
    return f"put({json.dumps(name)}, \"{packed}\");\n"


def contents(stack, cache: Path) -> dict[str, bytes]:
    """Everything large, by the name that the page asks for it."""
    mappers, parts = mappers_of(stack), runtime(cache)
    settings, numbers = settings_and_numbers(stack, mappers)
    settings["map"], places = map_of(stack, settings["choices"])
    found = {"drawings": save(drawings()), "map": save(places), "numbers": save(numbers), **parts}
    modules = networks(stack, mappers)
    own = {id(weight): weight.numel() for name, (module, *_) in modules.items() if not name.startswith("photo")
           for weight in module.parameters()}
    settings["millions"] = round(sum(own.values()) / 1e6)
    found["settings"] = json.dumps(settings).encode()
    for name, (module, inputs, axes) in modules.items():
        found[name] = exported(module, inputs, axes).SerializeToString()
    scripts = [(HERE / "js" / f"{name}.js").read_bytes() for name in ENGINE]
    found["engine"] = b"\n".join([found.pop("script"), *scripts])
    return found


def build(folder: Path, cache: Path) -> None:
    """Write the page into `folder`, in place of what was there."""
    warnings.filterwarnings("ignore")  # PyTorch says of this exporter that there is a newer one, and traces' warnings
    torch.set_num_threads(1)  # small networks: threads would wait for each other
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        new = Path(name) / "live"
        (new / "assets").mkdir(parents=True)
        for part, content in contents(load_stack(device="cpu"), cache).items():
            (new / "assets" / f"{part}.js").write_text(asset(part, content))
        for script in PAGE:
            shutil.copy(HERE / "js" / f"{script}.js", new / f"{script}.js")
        for file in ("index.html", "live.css"):
            shutil.copy(HERE / file, new)
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder / 'index.html'}: {size / 1e6:.1f} MB in all; open it in a browser")


if __name__ == "__main__":
    build(Path(sys.argv[1]), HERE.parents[2] / "out" / "packages")
