"""The paper's tables on the paper's data, or any other: from lists of clips and pictures to a summary.

    videos, pictures ──embed──▶ stores ──train──▶ mappers ──generate──▶ files of sounds ──score──▶ summary

`python -m v2a_utils reproduce CONFIG` runs it, and `evaluate --data`. Every step keeps its work in one folder, and
nothing is done twice with the same settings: stores go on by shard, mappers by checkpoint, sounds by batch, features by
file, scores by what they measure. Where a part is missing, the steps that need it are left out, and a sentence says so.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from v2a_utils.data.files import write_json
from v2a_utils.data.pairs import Pairs, read_pairs
from v2a_utils.data.sources import Listing, open_source, reopen
from v2a_utils.data.store import Store
from v2a_utils.evaluation import sound_files
from v2a_utils.evaluation.clips import Clips, ClipsScorer, file_features
from v2a_utils.evaluation.features import Features
from v2a_utils.evaluation.methods import (
    COMPARED,
    Method,
    Sizes,
    conditions,
    is_mapper,
    missing,
    sound_options,
    trained_parameters,
)
from v2a_utils.evaluation.scoring import Extractor
from v2a_utils.evaluation.settings import ROWS, Settings
from v2a_utils.evaluation.summary import describe, efficiency_rows, gap_table, summarise, write_summary
from v2a_utils.mappers.closed_form import CLOSED_FORM
from v2a_utils.mappers.own import train_on_pairs
from v2a_utils.mappers.recipes import recipe_for
from v2a_utils.mappers.registry import save_mapper, trained_mapper, words_bridge
from v2a_utils.models.weights import state_sha256
from v2a_utils.pipeline import SoundOptions, best_candidates
from v2a_utils.stacks import extraction
from v2a_utils.stacks.stack import BACKBONES, Stack

SIZES = Sizes(pairs=1_000_000)  # maps in closed form learn from all pairs
PAIRS_COMPARED = (*COMPARED, ("flow", "no mapper"), ("flow", "regression"), ("flow", "diffusion"))
HEARD = 10_000  # sounds at most that the bridge over words chooses from
GAP_FROM = 11  # test clips: some of its numbers look for ten neighbours
TIMED = 3  # sounds made one by one to say how long one takes


class Reproduction:
    """The steps from a configuration to its summary, each made when it is first asked for."""

    def __init__(self, settings: Settings, stack: Stack):
        self.settings, self.stack, self.work = settings, stack, Path(settings.work)
        self.left_out: dict[str, str] = {}  # what is not measured, and why
        self.methods: dict[str, Method] = {}
        self.aggregates: dict[str, str] = {}  # of the methods for which frames are aggregated otherwise
        self._stores: dict[tuple[str, str], Store] = {}
        self._pairs: dict[str, Pairs] = {}

    # -------------------------------------------------------------------------------------------------- embeddings

    @cached_property
    def listing(self) -> Listing:
        """The clips with sounds, at most `train_clips` of them to learn from; for a given store, its own."""
        if (store := self.settings.store) is not None:
            if "source" not in store.settings:
                raise ValueError(f"{store.path}: does not say what it was made from; embed it again")
            splits = dict(zip(store.numpy("id"), store.numpy("split")))
            listing = reopen(store.settings["source"], len(store) + len(store.skipped()))
            return replace(listing, sources=[replace(source, split=splits[source.id]) for source in listing.sources
                                             if source.id in splits])
        listing = open_source(self.settings.videos, self.settings.clips, self.settings.seed)
        learned = [source for source in listing.sources if source.split != "test"][: self.settings.train_clips]
        chosen = {source.id for source in learned}
        return replace(listing, sources=[source for source in listing.sources
                                         if source.split == "test" or source.id in chosen])

    def store(self, which: str = "videos", aggregate: str | None = None) -> Store:
        """The store of "videos" or "pictures", embedded now unless it is there."""
        aggregate = aggregate or self.settings.aggregate
        if which == "videos" and self.settings.store is not None and aggregate == self.settings.aggregate:
            sound_files.check_store(self.stack, self.settings.store)
            return self.settings.store
        if (which, aggregate) not in self._stores:
            listing = self.listing if which == "videos" else open_source(str(self.settings.pictures))
            run = extraction.run_here
            if self.settings.engine == "ray":
                from v2a_utils.stacks.extraction_on_ray import run_on_ray as run
            options = extraction.EmbedOptions(aggregate, self.settings.frame_rate, self.settings.seed)
            self._stores[which, aggregate] = extraction.embed(
                listing, self.stack, self.work / "stores" / f"{which}-{aggregate}", options, resume=True, run=run)
        return self._stores[which, aggregate]

    def clips(self, split: str, aggregate: str | None = None) -> Clips:
        """The clips of "test", "sweep" (the first of test) or "ood" (the pictures)."""
        which, part = ("pictures", None) if split == "ood" else ("videos", "test")
        store = self.store(which, aggregate)
        ids = list(store.numpy("id", part))
        if len(ids) < 4:
            raise ValueError(f"{store.path}: {len(ids)} clips to be tested on, where 4 or more are needed; give more, "
                             "or embed with other --splits")
        clips = Clips(self.stack, ids, store.numpy("label", part), store.numpy("visual", part),
                      None if split == "ood" else store.numpy("audio", part), partial(self.pairs, aggregate))
        few = self.settings.sweep_clips if split == "sweep" else self.settings.test_clips if part else None
        return clips if few is None else clips.first(few)

    def pairs(self, aggregate: str | None = None) -> Pairs:
        """The pairs that are learned from, of the splits train and val."""
        aggregate = aggregate or self.settings.aggregate
        if aggregate not in self._pairs:
            store = self.store("videos", aggregate)
            if "train" not in set(store.numpy("split")):
                raise ValueError(f"{store.path}: has no clips of the split train to learn from")
            self._pairs[aggregate] = read_pairs(store.path)
        return self._pairs[aggregate]

    # ----------------------------------------------------------------------------------------------------- mappers

    def mapper(self, kind: str, aggregate: str | None = None, sizes: dict | None = None,
               number: int | None = None) -> str:
        """The folder of a mapper, trained now unless it is there; for a kind not trained here, the stack's own.

        `sizes` replace the recipe's; `number` limits the pairs that are learned from.
        """
        if kind not in self.settings.mappers:
            return kind
        pairs = self.pairs(aggregate)
        if number is not None:
            rows = np.random.default_rng(self.settings.seed).permutation(len(pairs.train[0]))[:number]
            pairs = replace(pairs, train=tuple(side[rows] for side in pairs.train))
        recipe = recipe_for(self.stack.name, kind, len(pairs.train[0]))
        training = replace(recipe.train, **{"seed": self.settings.seed} | self.settings.training)
        recipe = replace(recipe, sizes=recipe.sizes | (sizes or {}), train=training)
        parts = [kind, aggregate, number and f"{number} pairs", sizes and json.dumps(sizes, sort_keys=True)]
        name = "-".join("".join(c for c in str(part) if c.isalnum() or c in " _") for part in parts if part)
        self._once(self.work / "mappers" / name, {"pairs": pairs.sha256, "recipe": asdict(recipe)},
                   lambda out: train_on_pairs(pairs, recipe, out, self.stack.device))
        return str(self.work / "mappers" / name)

    def words(self) -> str:
        """The folder of a bridge over words to the training sounds; the stack's own bridge where there are none."""
        try:
            sounds = self.pairs().train[1][:HEARD]
        except ValueError:
            return "words"
        out, made_from = self.work / "mappers" / "words", {"pairs": self.pairs().sha256}
        self._once(out, made_from,
                   lambda out: save_mapper(words_bridge(self.stack, sounds=sounds), out, overwrite=True))
        return str(out)

    def _once(self, out: Path, made_from: dict, make) -> None:
        """`make(out)`, unless `out` was made from the same before. ValueError when it was made from something else."""
        made_from = json.loads(json.dumps(made_from))
        record = out / "made_from.json"
        if not record.is_file():
            make(out)
            write_json(record, made_from)
        elif json.loads(record.read_text()) != made_from:
            raise ValueError(f"{out}: was made with other clips or settings; delete it, or give another work folder")

    # ----------------------------------------------------------------------------------------------------- methods

    def plan(self) -> None:
        """Fill `methods` with the rows of the table and of the sweeps that can be made, and say which cannot."""
        steps, guidance, sweep = self.settings.steps, self.settings.guidance, self.settings.sweep_mapper
        for name in self.settings.methods:
            self._add(name, lambda name=name: self._source(name))
        for group, values in self.settings.sweeps.items():
            for value in values:
                sizes = values[value] if group == "size" else None
                name = f"{value} {group}" if group in ("steps", "pairs") else f"{group} {value}"
                own = {"aggregate": value if group == "aggregate" else None, "sizes": sizes,
                       "number": value if group == "pairs" else None}
                self._add(name, partial(self._swept, sweep, group, **own), group=group,
                          steps=value if group == "steps" else steps,
                          guidance=value if group == "guidance" else guidance)
                if group == "aggregate":
                    self.aggregates[name] = value

    def _source(self, name: str) -> str:
        """Where the conditions of a row of the table come from."""
        source = ROWS.get(name, name)
        if source in CLOSED_FORM:
            self.pairs()  # says what is missing
        return self.words() if source == "words" else self.mapper(source)

    def _swept(self, kind: str, group: str, **own) -> str:
        if group in ("aggregate", "size", "pairs") and kind not in self.settings.mappers:
            raise ValueError(f"the mapper {kind} is not trained here, so it cannot be trained otherwise")
        return self.mapper(kind, **own)

    def _add(self, name: str, source, **how) -> None:
        try:
            method = Method(source(), **{"steps": self.settings.steps, "guidance": self.settings.guidance} | how)
            reason = missing(self.stack, method)
        except ValueError as error:
            reason = str(error)
        if reason:
            self._leave_out(name, reason)
        else:
            self.methods[name] = method

    def _leave_out(self, name: str, reason: str) -> None:
        self.left_out[name] = reason
        tqdm.write(f"not measured: {name} ({reason})")

    # ------------------------------------------------------------------------------------------------------ sounds

    def sounds(self, name: str, split: str) -> tuple[list[Path], np.ndarray] | None:
        """The files of a method's sounds for a split, made now where they are missing, and seconds per sound.

        None where the method has none: pictures have no true sounds.
        """
        method, clips = self.methods[name], self.clips(split, self.aggregates.get(name))
        if clips.audio is None and method.source in ("real", "true"):
            return None
        folder = self.work / "sounds" / Path(name).name / split
        if method.source == "real":
            return self.references(), np.zeros(1)
        key = state_sha256(trained_mapper(self.stack, method.source)) if is_mapper(method) else (
            self.pairs().sha256 if method.source in CLOSED_FORM else "")
        run = sound_files.run_on_ray if self.settings.engine == "ray" else sound_files.run_here
        paths = sound_files.make_files(
            self.stack, clips.ids, lambda seed: conditions(clips, method, seed, SIZES), folder, self._options(method),
            {"mapper": f"{method.source if not is_mapper(method) else 'trained'} {key}", "clips": clips.sha256},
            1 if split == "sweep" else self.settings.seeds, run=run)
        return paths, self._seconds(folder.parent / "seconds.json", method, clips)

    def references(self) -> list[Path]:
        """The files of the test clips' true sounds. ValueError when one of them cannot be read any more."""
        folder, wanted = self.work / "sounds" / "reference" / "test", self.clips("test").ids
        known = {source.id: source for source in self.listing.sources}
        listing = replace(self.listing, sources=[known[name] for name in wanted if name in known])
        generator = self.stack.generator
        paths = sound_files.copy_references(listing, folder, generator.sample_rate, generator.clip_seconds)
        if len(paths) < len(wanted):
            raise ValueError(f"{self.listing.name}: of {len(wanted)} test clips {len(wanted) - len(paths)} have lost "
                             "their sounds since they were embedded")
        return paths

    def _options(self, method: Method) -> SoundOptions:
        return replace(sound_options(method, self.settings.seed), scheduler=self.settings.scheduler,
                       candidates=self.settings.candidates)

    def _seconds(self, path: Path, method: Method, clips: Clips) -> np.ndarray:
        """Seconds from one picture's embedding to its sound, of TIMED sounds made one by one; measured once."""
        if not path.is_file():
            one, took = clips.first(1), []
            ready = None if is_mapper(method) else conditions(clips, method, 0, SIZES)[:1]
            for seed in range(TIMED):
                began = time.perf_counter()
                mapped = conditions(one, method, seed, SIZES) if ready is None else ready
                best_candidates(self.stack, mapped, self._options(method), rank=self.settings.candidates > 1)
                took.append(time.perf_counter() - began)
            write_json(path, took)
        return np.array(json.loads(path.read_text()))

    # ----------------------------------------------------------------------------------------------------- summary

    def run(self) -> pd.DataFrame:
        """All steps; writes the summary that `results.Results` reads and returns its table evaluation."""
        began = time.perf_counter()
        clips = {"test": self.clips("test")}
        if self.settings.pictures and Path(self.settings.pictures).is_dir():
            clips["ood"] = self.clips("ood")
        else:
            self._leave_out("pictures", f"{self.settings.pictures}: no such folder" if self.settings.pictures else
                            "no folder of them was given")
        self.plan()
        if self.settings.sweeps:
            clips["sweep"] = self.clips("sweep")
        tables = self._tables(clips) | {"gap": self._gap(clips["test"]), "efficiency": self._efficiency(clips["test"])}
        sizes = replace(SIZES, pictures=len(clips["test"].ids), seeds=self.settings.seeds, draws=self.settings.draws,
                        ood=len(clips["ood"].ids) if "ood" in clips else 0, sweep=self.settings.sweep_clips,
                        pairs=len(self.pairs().train[0]) if self._pairs else 0, covered=0, takes=0,
                        efficiency=tuple(self.settings.sweeps.get("pairs", ())))
        return write_summary(self.settings.summary, tables, {
            "stack": self.stack.name, "data": self.listing.name, "sizes": vars(sizes),
            "threads": torch.get_num_threads(), "seconds": round(time.perf_counter() - began),
            "configuration": self.settings.as_json(), "left_out": self.left_out,
            "settings": {name: describe(method) for name, method in self.methods.items()}})

    def _tables(self, clips: dict[str, Clips]) -> dict[str, pd.DataFrame]:
        """The tables that need sounds; empty where a part for making or scoring them is missing."""
        try:
            for part in ("audioldm", *BACKBONES):
                self.stack.place(part)
        except ValueError as error:
            self._leave_out("sounds", str(error))
            return summarise({}, {}, None, None, compared=())
        extractor = Extractor({part: getattr(self.stack, part) for part in BACKBONES})
        truth = file_features(extractor, self.references(), len(clips["test"].ids))
        cache = self.work / "scores"
        evaluators = {split: ClipsScorer(extractor, own, None if split == "ood" else truth.rows(slice(len(own.ids)), 0),
                                         self.settings.draws, cache) for split, own in clips.items()}

        def make(name: str, split: str) -> tuple[Features, np.ndarray] | None:
            if (made := self.sounds(name, split)) is None:
                return None
            return file_features(extractor, made[0], len(clips[split].ids)), made[1]

        tables = summarise(evaluators, self.methods, make, partial(trained_parameters, self.stack), PAIRS_COMPARED,
                           [split for split in ("test", "ood") if split in clips])
        for note in extractor.notes.values():
            tqdm.write(note)
        return tables

    def _gap(self, test: Clips) -> pd.DataFrame:
        few = test.first(SIZES.gap)
        if len(few.ids) < GAP_FROM:
            self._leave_out("gap", f"{len(few.ids)} test clips, where {GAP_FROM} or more are needed")

        def clouds() -> Iterator[tuple[str, np.ndarray]]:
            for name, method in self.methods.items() if "gap" not in self.left_out else ():
                if method.group == "table" and method.source not in ("real", "true"):  # nothing is left of these
                    yield name, conditions(few, method, self.settings.seed, SIZES)

        return gap_table(clouds(), few.audio, self.settings.draws)

    def _efficiency(self, test: Clips) -> pd.DataFrame:
        few = test.first(SIZES.gap)
        rows = [row for name, method in self.methods.items() if method.group == "pairs"
                for row in efficiency_rows(self.settings.sweep_mapper, int(name.split()[0]),
                                           conditions(few, method, self.settings.seed, SIZES), few.audio)]
        return pd.DataFrame(rows, columns=["mapper", "pairs", "measure", "value", "n"])


def reproduce(settings: Settings, stack: Stack) -> pd.DataFrame:
    """Run a reproduction; writes its summary and returns the table evaluation."""
    return Reproduction(settings, stack).run()
