"""Do the tests notice when something breaks? Features are broken on purpose, one at a time, in a copy.

`python -m benchmarks.mutations` (`make bench-mutations`) prints which test file notices which: first the features of a
list, then as many places of metrics, statistics and evaluation as `--chosen` says, which cosmic-ray breaks at random.
It ends with status 1 when one of the list goes unnoticed, or more than an eighth of the chosen ones.
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
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
    ("the means in the Fréchet distance", "metrics/sounds.py", "np.sum((one.mean - two.mean) ** 2) + variances", "variances",
     "test_metrics.py"),
    ("sums of the shipped weights", "data/files.py", "not path.is_file() or sha256(path) != expected",
     "not path.is_file()", "test_weights.py"),
    ("a row's noise is its own", "data/batches.py", "[seed, row, *salt]", "[seed, 0, *salt]", "test_generation.py test_mappers.py"),
    ("a damaged download is noticed", "stacks/fetching.py", "if not fine:", "if False:",
     "test_fetch.py"),
    ("what is excluded leads the guidance", "models/audioldm.py", "self.null_embedding if exclude is None else exclude",
     "self.null_embedding", "test_generation.py"),
    ("a film without events leaves its sound alone", "event_adapter.py", "one * told for", "one for",
     "test_event_adapter.py"),
    ("sounds that are all the same are told of", "evaluation/scoring.py", "if different < DISTINCT *", "if different < 0 *",
     "test_score.py"),
    # how sure a number is
    ("the sign of paired differences", "evaluation/scorer.py", "first[name].mean(1) - second[name].mean(1)",
     "second[name].mean(1) - first[name].mean(1)", "test_verdicts.py"),
    ("the sign in how a row moves a Fréchet distance", "metrics/sounds.py", "np.concatenate(found) - carried",
     "np.concatenate(found) + carried", "test_metrics.py"),
    ("Student's t", "metrics/sounds.py", "scipy.stats.t.ppf(0.975, n - 1) * values.std(ddof=1)",
     "1.96 * values.std(ddof=1)", "test_metrics.py"),
    ("a width of 0 is no proof", "metrics/statistics.py", "not np.isfinite(half) or half <= 0", "not np.isfinite(half)",
     "test_verdicts.py"),
    ("no verdict from a small cloud", "metrics/statistics.py", "LEAST_CLOUD if claim in clouds else LEAST)",
     "LEAST)", "test_verdicts.py"),
    ("Holm's correction", "metrics/statistics.py", "LEVEL / (len(asked) - place)", "LEVEL", "test_verdicts.py"),
    ("KAD without pairs of a row with itself", "metrics/sounds.py", "self._sums(cloud, cloud) - 1, ",
     "self._sums(cloud, cloud), ", "test_metrics.py"),
    ("parts of the inception score are shuffled", "metrics/sounds.py", "np.random.RandomState(seed).permutation(len(logits))",
     "np.arange(len(logits))", "test_numbers.py"),
    ("validation pairs are spread", "mappers/own.py", "np.linspace(0, len(rows) - 1, min(len(rows), JUDGED))",
     "np.arange(min(len(rows), JUDGED))", "test_numbers.py"),
    ("weights are averaged from a tenth of the steps on", "mappers/training.py", "if step < config.steps // 10:",
     "if step < 0:", "test_numbers.py"),
    # whose number it is, and how old
    ("rows by the clips' ids", "evaluation/clips.py", "[places[name] for name in ids]", "list(range(len(ids)))",
     "test_numbers.py"),
    ("a folder of clips is a source", "evaluation/settings.py", "store is not None and store.shards()",
     "store and store.shards()", "test_reproduction.py"),
    ("a sweep has no more clips than the test", "evaluation/run.py",
     "min(settings.sweep_clips, settings.test_clips or settings.sweep_clips)", "settings.sweep_clips",
     "test_reproduction.py"),
    ("sounds of a method have a folder of their own", "evaluation/run.py", "key(rows=rows, ids=clips.ids, options=options,",
     "key(options=options,", "test_reproduction.py"),
    ("a mapper is not tested on what it learned", "evaluation/run.py", "if known := self.clips(\"test\").learned_by(method):",
     "if known := set():", "test_reproduction.py"),
    ("sounds of other conditions are not served", "sound_files.py",
     "key(conditions=np.asarray(conditions, np.float32), ids=names)", '""', "test_generate.py"),
    ("a key holds the version", "data/files.py", "[__version__, made_of]", "made_of", "test_numbers.py"),
    ("embeddings of another world", "stacks/extraction.py", "key(world=world_code(), **settings)", "key(**settings)",
     "test_numbers.py"),
    ("a mapper trained anew", "mappers/registry.py", "versions.get(folder) != (written := _written(folder))",
     "folder not in loaded and (written := _written(folder))",
     "test_numbers.py"),
    ("answers about other sounds", "evaluation/listening_test.py", '[known.test == self.key]', "",
     "test_listening.py"),
    ("sound and picture of the same seconds", "data/audio.py", "or [np.zeros(0, np.float32)])[early:]",
     "or [np.zeros(0, np.float32)])", "test_numbers.py"),
    ("a limit is a sample", "data/splits.py", "sorted(range(len(ids)), key=digests.__getitem__)[:number]",
     "list(range(len(ids)))[:number]", "test_numbers.py"),
    ("a mapper's noise is not the generator's", "mappers/model.py", "row_generators(rows, seed, MAPPER)",
     "row_generators(rows, seed)", "test_numbers.py"),
    ("no pair among its own negatives", "mappers/own.py", 'if hasattr(mapper, "add_noise") else 1', "if True else 1",
     "test_numbers.py"),
    ("hiss stays hiss", "data/audio.py", "if heard <= SILENCE:", "if heard <= -120:", "test_numbers.py"),
    ("exactly the clips of a list", "evaluation/scoring.py", "return {name: known[same_clip(name)] for name in ids}",
     "return files", "test_score.py"),
)


TYPE_ERRORS = ("Bit", "Shift", "_Is", "Decorator", "Exception")  # operators whose mutants hardly run, and prove nothing
CHOSEN = {  # file of the package -> tests that ought to notice what cosmic-ray breaks in it
    "metrics/gap.py": "test_gap.py test_metrics.py",
    "metrics/sounds.py": "test_metrics.py test_numbers.py test_audit.py test_verdicts.py",
    "metrics/statistics.py": "test_verdicts.py test_metrics.py test_results.py",
    "metrics/timing.py": "test_timing.py",
    "evaluation/features.py": "test_score.py test_numbers.py test_evaluation.py",
    "evaluation/results.py": "test_results.py test_evaluation.py",
    "evaluation/scorer.py": "test_verdicts.py test_evaluation.py",
    "evaluation/scoring.py": "test_score.py test_published.py",
}


def main() -> None:
    """Break and test, one feature after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chosen", type=int, default=20, help="places that cosmic-ray breaks (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="by which it chooses them (default: %(default)s)")
    args = parser.parse_args()
    noticed = [is_noticed(name, file, replaced(file, text, instead), tests)
               for name, file, text, instead, tests in MUTATIONS]
    print(f"{sum(noticed)} of the list's {len(noticed)} noticed", flush=True)
    found = [is_noticed(name, file, content, CHOSEN[file]) for name, file, content in chosen(args.chosen, args.seed)]
    print(f"{sum(found)} of {len(found)} chosen ones noticed")
    sys.exit(not all(noticed) or sum(found) < 7 / 8 * len(found))


def replaced(file: str, text: str, instead: str) -> str:
    """A file of the package with another text at one place."""
    content = (ROOT / "v2a_utils" / file).read_text()
    if content.count(text) != 1:
        raise ValueError(f"{file} has {content.count(text)} places with {text!r}: bring MUTATIONS up to date")
    return content.replace(text, instead)


def chosen(count: int, seed: int) -> Iterator[tuple[str, str, str]]:
    """Mutants of cosmic-ray: what breaks where, the file, and its content; no two in one line.

    Signatures and decorators are passed over, and an index 0 that becomes -1, which often names a thing just like it.
    """
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    places = []
    for file in CHOSEN:
        content = (ROOT / "v2a_utils" / file).read_text()
        tree, runs = get_ast(content), running_lines(content)
        for name in operator_names():
            if any(part in name for part in TYPE_ERRORS) or get_operator(name).arguments():
                continue
            starts = [start for node in ast_nodes(tree) for start, _ in get_operator(name)().mutation_positions(node)]
            places += [(file, start[0], name, number) for number, start in enumerate(starts) if start[0] in runs]
    random.Random(seed).shuffle(places)
    lines = set()
    for file, line, name, number in places:
        if len(lines) < count and (file, line) not in lines:
            content = mutate_code((ROOT / "v2a_utils" / file).read_text(), get_operator(name)(), number)
            if compiles(content) and "[ -1]" not in content:
                lines.add((file, line))
                yield f"{file}:{line} {name.partition('/')[2]}", file, content


def compiles(content: str) -> bool:
    """Whether Python can read it: what it cannot, no test has to notice."""
    try:
        ast.parse(content)
    except SyntaxError:
        return False
    return True


def running_lines(content: str) -> set[int]:
    """Lines that hold statements within functions, and no decorator, signature or docstring."""
    found = set()
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[ast.get_docstring(node) is not None:]
            found |= {line for each in body for line in range(each.lineno, each.end_lineno + 1)}
    return found


def is_noticed(name: str, file: str, content: str, tests: str) -> bool:
    """Whether a test fails on a copy of the package in which a file has this content."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "v2a_utils", Path(folder, "v2a_utils"), ignore=shutil.ignore_patterns("__pycache__"))
        for neighbour in ("data", "results"):
            Path(folder, neighbour).symlink_to(ROOT / neighbour)
        broken = Path(folder, "v2a_utils", file)
        broken.write_text(content)
        command = [sys.executable, "-m", "pytest", "-qx", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
        run = subprocess.run(command + [str(ROOT / "tests" / one) for one in tests.split()], cwd=folder, text=True,
                             env=os.environ | {"PYTHONPATH": folder}, capture_output=True, check=False)
    # an error in what a test needs is noticed, too; one in loading the tests has another status
    failed = next((line for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))), "")
    noticed = run.returncode == 1 and bool(failed)
    print(f"{'noticed' if noticed else 'UNNOTICED'}: {name}  {failed.partition(' - ')[0]}", flush=True)
    return noticed


if __name__ == "__main__":
    main()
