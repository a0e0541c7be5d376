"""Do the tests notice when something breaks? Ten features are broken on purpose, one at a time, in a copy.

`python -m benchmarks.mutations` (`make bench-mutations`) prints which test file notices which; it ends with status 1
when one goes unnoticed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
MUTATIONS = (  # what breaks, file of the package, text, what stands in its place, tests that ought to fail
    ("guidance of the mapper", "mappers/model.py", "null + guidance * (guess - null)", "guess", "test_mappers.py"),
    ("the words' posterior", "mappers/words.py", " - self._log_evidence)", ")", "test_bridge.py"),
    ("clips of one video stay together", "data/splits.py", "(video[1] if video else clip_id)", "clip_id",
     "test_own_data.py"),
    ("training goes on only with its own data", "mappers/training.py", "if known.get(name) != value", "if False",
     "test_nothing_is_lost.py test_own_data.py test_recipes.py"),
    ("nobody's files are replaced", "data/files.py", "there = [] if overwrite else", "there = [] if True else",
     "test_nothing_is_lost.py"),
    ("a sound that is not finite is no sound", "models/audioldm.py",
     "if not np.isfinite(sounds).all():\n            raise", "if False:\n            raise", "test_nothing_is_lost.py"),
    ("the means in the Fréchet distance", "metrics/sounds.py", "float(max(apart + traces", "float(max(traces",
     "test_metrics.py"),
    ("sums of the shipped weights", "models/weights.py", "not path.is_file() or sha256(path) != expected",
     "not path.is_file()", "test_weights.py"),
    ("a row's noise is its own", "models/batches.py", "[seed, row, *salt]", "[seed, 0, *salt]", "test_generation.py test_mappers.py"),
    ("a damaged download is noticed", "stacks/fetching.py", "if found and not sha256(part / name)",
     "if False and not sha256(part / name)", "test_fetch.py"),
)


def main() -> None:
    """Break and test, one feature after the other."""
    unnoticed = [name for name, *how in MUTATIONS if not is_noticed(name, *how)]
    print(f"{len(MUTATIONS) - len(unnoticed)} of {len(MUTATIONS)} noticed")
    sys.exit(bool(unnoticed))


def is_noticed(name: str, file: str, text: str, instead: str, tests: str) -> bool:
    """Whether a test fails on a copy of the package in which `text` is replaced."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "v2a_utils", Path(folder, "v2a_utils"), ignore=shutil.ignore_patterns("__pycache__"))
        for neighbour in ("data", "results"):
            Path(folder, neighbour).symlink_to(ROOT / neighbour)
        broken = Path(folder, "v2a_utils", file)
        content = broken.read_text()
        if content.count(text) != 1:
            raise ValueError(f"{file} has {content.count(text)} places with {text!r}: bring MUTATIONS up to date")
        broken.write_text(content.replace(text, instead))
        command = [sys.executable, "-m", "pytest", "-qx", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
        run = subprocess.run(command + [str(ROOT / "tests" / one) for one in tests.split()], cwd=folder, text=True,
                             env=os.environ | {"PYTHONPATH": folder}, capture_output=True, check=False)
    failed = next((line for line in run.stdout.splitlines() if line.startswith("FAILED")), "")
    noticed = run.returncode == 1 and bool(failed)
    print(f"{'noticed' if noticed else 'UNNOTICED'}: {name}  {failed.partition(' - ')[0]}", flush=True)
    return noticed


if __name__ == "__main__":
    main()
