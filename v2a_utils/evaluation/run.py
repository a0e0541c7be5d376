"""The evaluation, of SoundWorld or any clips: every method makes sounds for the same pictures, all measures score them.

    videos, pictures ──embed──▶ stores ──train──▶ mappers ──generate──▶ files of sounds ──score──▶ summary

Every step (`evaluate`, `reproduce CONFIG`) keeps its work under a key of all that made it, so nothing is done twice.
Where a part is missing, what needs it is left out, and a sentence says so. Rows are joined by the clips' ids.
"""

import inspect
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import cache, cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from soundworld import SAMPLE_RATE, other_take, synthesise
from soundworld.measures import seen_attributes
from tqdm.auto import tqdm

from v2a_utils import sound_files
from v2a_utils.data.files import DATA, key, sha256, write_arrays, write_json, write_table
from v2a_utils.data.pairs import Pairs, read_pairs
from v2a_utils.data.sources import Listing, Source, WorldSource, open_source, world_code
from v2a_utils.data.splits import sample
from v2a_utils.data.store import Store
from v2a_utils.evaluation.clips import Clips, is_mapper, trained_parameters, world_clips
from v2a_utils.evaluation.features import ATTRIBUTES, Extractor, Features, attribute_fidelity
from v2a_utils.evaluation.scorer import Rows, Score, Scorer
from v2a_utils.evaluation.settings import COMPARED, METHODS, WORLD, Method, Settings
from v2a_utils.mappers.model import MAPPERS
from v2a_utils.mappers.own import train_on_pairs
from v2a_utils.mappers.recipes import recipe_for
from v2a_utils.mappers.registry import save_mapper, words_bridge
from v2a_utils.metrics import gap
from v2a_utils.metrics.sounds import Interval, rate_interval
from v2a_utils.models.backbones import right_classes
from v2a_utils.models.weights import state_sha256
from v2a_utils.pipeline import SoundOptions, best_candidates
from v2a_utils.stacks import extraction
from v2a_utils.stacks.places import BACKBONES
from v2a_utils.stacks.stack import Stack

SUMMARY = DATA / "results"  # the committed summary, of the mini stack
SOUNDS_OF_WORDS = 10_000  # that the bridge over words chooses from, at most
GAP_FROM = 11  # test clips: some of its numbers look for ten neighbours
MEASURES = [sha256(Path(inspect.getfile(each))) for each in (Scorer, Interval)]  # the code that measures
TIMED = 3  # sounds made one by one to say how long one takes
COLUMNS = ["method", "group", "split", "measure", "label", "value", "low", "high", "n", "seeds", "seed_low",
           "seed_high", "backbone", "sample_rate"]


class Evaluation:
    """The steps from settings to a summary, each made when it is first asked for."""

    def __init__(self, settings: Settings, stack: Stack):
        self.settings, self.stack, self.work = settings, stack, Path(settings.work)
        self.left_out: dict[str, str] = {}  # what is not measured, and why
        self.methods: dict[str, Method] = {}
        self.aggregates: dict[str, str] = {}  # of the methods for which frames are aggregated otherwise
        self.few: set[str] = set()  # Fréchet distances for which there are few clips
        for name in ("store", "pairs", "clips", "truth", "scorer"):  # each is made once
            setattr(self, name, cache(getattr(self, name)))

    # -------------------------------------------------------------------------------------------------- embeddings

    def store(self, which: str = "videos", aggregate: str | None = None) -> Store:
        """The store of "videos" or "pictures", embedded now unless it is there."""
        aggregate = aggregate or self.settings.aggregate
        if which == "videos" and self.settings.store is not None and aggregate == self.settings.aggregate:
            sound_files.check_store(self.stack, self.settings.store)
            return self.settings.store
        listing = self.settings.listing if which == "videos" else open_source(str(self.settings.pictures))
        run = extraction.run_here
        if self.settings.engine == "ray":
            from v2a_utils.stacks.extraction_on_ray import run_on_ray as run
        options = extraction.EmbedOptions(aggregate, self.settings.frame_rate, self.settings.seed)
        made_by = extraction.store_settings(self.stack, options)
        versions = [_version(source) for source in listing.sources]
        name = f"{which}-{aggregate}-{key(clips=versions, listing=listing.settings, **made_by)[:12]}"
        return extraction.embed(listing, self.stack, self.work / "stores" / name, options, resume=True, run=run)

    def pairs(self, aggregate: str | None = None) -> Pairs:
        """The pairs that are learned from, of the splits train and val."""
        if self.settings.of_world:
            raise ValueError("on SoundWorld mappers are used, not trained")
        store = self.store("videos", aggregate)
        if "train" not in set(store.numpy("split")):
            raise ValueError(f"{store.path}: has no clips of the split train to learn from")
        return read_pairs(store.path)

    def clips(self, split: str, aggregate: str | None = None) -> Clips:
        """The clips of "test", of "sweep" (some of test), "gap" (as many as embeddings are compared of) or "ood"."""
        settings = self.settings
        if split == "ood" and settings.pictures == WORLD:
            return world_clips(self.stack, "ood", settings.picture_clips, settings.train_clips or 0)
        if split == "ood":
            clips = self._stored(self.store("pictures"), None, aggregate)
            return clips.select(self._sample(clips.ids, settings.picture_clips))
        most = {"test": settings.test_clips, "gap": settings.gap_clips,
                "sweep": min(settings.sweep_clips, settings.test_clips or settings.sweep_clips)}[split]
        if settings.of_world:
            return world_clips(self.stack, "test", most, settings.train_clips or 0)
        clips = self._stored(self.store("videos", aggregate), "test", aggregate)
        return clips.select(self._sample(self.tested, most))

    @cached_property
    def tested(self) -> list[str]:
        """The ids of the test clips that every aggregate has, in random order: a damaged film may lack some."""
        stores = [self.store("videos", aggregate) for aggregate in (None, *self.settings.sweeps.get("aggregate", ()))]
        ids = list(stores[0].numpy("id", "test"))
        common = set(ids).intersection(*(store.numpy("id", "test") for store in stores))
        if len(common) < 4:
            raise ValueError(f"{stores[0].path}: {len(common)} clips to be tested on, where 4 or more are needed; give "
                             "more, or embed with other --splits")
        return self._sample([name for name in ids if name in common], None)

    def _sample(self, ids: list[str], most: int | None) -> list[str]:
        return [ids[place] for place in sample(ids, len(ids) if most is None else most, self.settings.seed)]

    def _stored(self, store: Store, part: str | None, aggregate: str | None) -> Clips:
        listing = self.settings.listing if part else open_source(str(self.settings.pictures))
        known = {source.id: source for source in listing.sources}
        ids = list(store.numpy("id", part))
        audio = np.array(store.numpy("audio", part)) if part else None
        return Clips(self.stack, ids, [known[name] for name in ids], np.array(store.numpy("visual", part)), audio,
                     lambda: self.pairs(aggregate).train)

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
        folder = self.work / "mappers" / f"{kind}-{key(pairs=pairs.sha256, recipe=asdict(recipe))[:12]}"
        if not (folder / "config.json").is_file():
            train_on_pairs(pairs, recipe, folder, self.stack.device)
        return str(folder)

    def words(self) -> str:
        """The folder of a bridge over words to the training sounds; the stack's own bridge where there are none."""
        try:
            sounds = self.pairs().train[1]
        except ValueError:
            return "words"
        rows = np.random.default_rng(self.settings.seed).permutation(len(sounds))[:SOUNDS_OF_WORDS]
        folder = self.work / "mappers" / f"words-{key(sounds=sounds[rows], settings=self.pairs().settings)[:12]}"
        if not (folder / "config.json").is_file():
            save_mapper(words_bridge(self.stack, sounds=sounds[rows]), folder, overwrite=True)
        return str(folder)

    # ----------------------------------------------------------------------------------------------------- methods

    def plan(self) -> None:
        """Fill `methods` with the rows of the table and of the sweeps that can be made, and say which cannot.

        ValueError for a mapper that was trained on clips which it would be tested on.
        """
        settings = self.settings
        for name in settings.methods:
            method = METHODS.get(name, Method(name))
            own = {} if method.group != "table" else {"guidance": settings.guidance}
            self._add(name, replace(method, steps=settings.steps or method.steps, **own),
                      partial(self._source, method.source))
        for group, values in settings.sweeps.items():
            for value in values:
                name = f"{value} {group}" if group in ("steps", "pairs") else f"{group} {value}"
                how = {"steps": settings.steps or Method.steps, "guidance": settings.guidance}
                method = Method("", group=group, **how | ({group: value} if group in how else {}))
                self._add(name, method, partial(
                    self.mapper, settings.sweep_mapper, value if group == "aggregate" else None,
                    values[value] if group == "size" else None, value if group == "pairs" else None))
                if group == "aggregate":
                    self.aggregates[name] = value

    def _source(self, source: str) -> str:
        """Where the conditions of a row of the table come from, trained now if it is to be trained here."""
        if self.settings.of_world:
            return source
        return self.words() if source == "words" else self.mapper(source)

    def _add(self, name: str, method: Method, source: Callable[[], str]) -> None:
        trained = self.settings.sweep_mapper in self.settings.mappers
        if method.group in ("aggregate", "size", "pairs") and not trained:
            reason = f"the mapper {self.settings.sweep_mapper} is not trained here, so it cannot be trained otherwise"
        else:
            method = replace(method, source=source())
            reason = self.clips("test").missing(method)
        if reason:
            self._leave_out(name, reason)
            return
        if known := self.clips("test").learned_by(method):
            raise ValueError(f"{name}: this mapper was trained on {len(known)} of the {len(self.clips('test').ids)} "
                             f"clips that it would be tested on, such as {min(known)}; test it on others, or train one "
                             "on the store's split train")
        self.methods[name] = method

    def _leave_out(self, name: str, reason: str) -> None:
        self.left_out[name] = reason
        tqdm.write(f"not measured: {name} ({reason})")

    # ------------------------------------------------------------------------------------------------------ sounds

    def sounds(self, name: str, split: str) -> list[Path]:
        """The files of a method's sounds for a split, made now where missing; none where pictures have no true ones."""
        method, clips = self.methods[name], self.clips(split, self.aggregates.get(name))
        if clips.audio is None and method.source in ("real", "true"):
            return []
        seeds = 1 if split == "sweep" else self.settings.seeds
        if method.source == "real":
            return [path for seed in range(seeds) for path in (
                self._takes(clips, seed) if self.settings.of_world else self.true_sounds(clips))]
        rows = np.stack([clips.conditions(method, self.settings.seed + seed) for seed in range(seeds)])
        options = self._options(method)
        made_by = key(rows=rows, ids=clips.ids, options=options, generator=sound_files.generator_key(self.stack))
        folder = self.work / "sounds" / f"{''.join(c for c in Path(name).name if c.isalnum())}-{split}-{made_by[:12]}"
        run = sound_files.run_on_ray if self.settings.engine == "ray" else sound_files.run_here
        return sound_files.make_files(self.stack, clips.ids, rows, folder, options, name, run=run)

    def true_sounds(self, clips: Clips) -> list[Path]:
        """The files of the clips' true sounds. ValueError when one of them cannot be read any more."""
        generator = self.stack.generator
        listing = Listing(self.settings.videos, clips.sources, [])
        made_by = key(clips=[_version(source) for source in clips.sources], rate=generator.sample_rate,
                      seconds=generator.clip_seconds)
        folder = self.work / "sounds" / f"true-{made_by[:12]}"
        paths = sound_files.copy_references(listing, folder, generator.sample_rate, generator.clip_seconds)
        if len(paths) < len(clips.ids):
            raise ValueError(f"{self.settings.videos}: of {len(clips.ids)} clips {len(clips.ids) - len(paths)} have "
                             "lost their sounds since they were embedded")
        return paths

    def _takes(self, clips: Clips, seed: int) -> list[Path]:
        """Files of other true sounds of SoundWorld's scenes."""
        folder = self.work / "sounds" / f"takes-{key(clips=[_version(one) for one in clips.sources])[:12]}"
        paths = [folder / f"seed{seed}" / f"{name}.flac" for name in clips.ids]
        for path, scene in zip(paths, clips.scenes):
            if not path.is_file():
                sound_files.write_sound(path, synthesise(other_take(scene, seed)), SAMPLE_RATE)
        return paths

    def _options(self, method: Method) -> SoundOptions:
        return SoundOptions(steps=method.steps, guidance=method.guidance, scheduler=self.settings.scheduler,
                            candidates=self.settings.candidates, seed=self.settings.seed)

    def _seconds(self, name: str, split: str, paths: list[Path]) -> np.ndarray:
        """Seconds from an embedding to its sound, of TIMED made one by one, kept beside the files; 0 for real ones."""
        method, clips = self.methods[name], self.clips(split, self.aggregates.get(name))
        if method.source == "real":
            return np.zeros(1)
        path = paths[0].parents[1] / "seconds.json"
        if not path.is_file():
            one, took = clips.select(clips.ids[:1]), []
            known = one.conditions(method, 0)
            for seed in range(TIMED):
                began = time.perf_counter()
                mapped = one.conditions(method, seed) if is_mapper(method) else known
                best_candidates(self.stack, mapped, self._options(method), rank=self.settings.candidates > 1)
                took.append(time.perf_counter() - began)
            write_json(path, took)
        return np.array(json.loads(path.read_text()))

    # ------------------------------------------------------------------------------------------------------- scores

    @cached_property
    def extractor(self) -> Extractor:
        """The stack's own audio backbones."""
        return Extractor({part: getattr(self.stack, part) for part in BACKBONES})

    def features(self, split: str, paths: list[Path]) -> Features:
        """Features (n, seeds, ...) of the files of sounds for a split's clips, listed seed by seed."""
        return self.extractor.all(paths, self.clips(split).scenes, len(paths) // len(self.clips(split).ids))

    def truth(self, split: str) -> Features | None:
        """Features of the true sounds of a split; None where there are none."""
        clips = self.clips(split)
        if clips.audio is None:
            return None
        if split == "sweep":
            whole = self.truth("test")
            return whole and whole.rows(self._places_in_test(clips))
        return self.extractor.all(self.true_sounds(clips), clips.scenes).rows(slice(None), 0)

    def _places_in_test(self, clips: Clips) -> list[int]:
        places = {name: place for place, name in enumerate(self.clips("test").ids)}
        return [places[name] for name in clips.ids]

    def scorer(self, split: str) -> Scorer:
        """What measures the sounds of a split."""
        clips, real = self.clips(split), None
        if self.settings.of_world and self.settings.real > len(clips.ids):
            many = world_clips(self.stack, "ood" if split == "ood" else "test", self.settings.real)
            real = self.extractor.all(self.true_sounds(many), many.scenes).rows(slice(None), 0)
        names = self.stack.tagger.names
        right = [right_classes(labels, names) for labels in clips.labels]
        return Scorer(self.extractor.models, self.truth(split), clips.visual, right, real)

    def measured(self, scorer: Scorer, made: Features, split: str) -> Rows:
        """Every measure, clip by clip, kept by what it is measured of."""
        path = self.work / "scores" / (key(
            code=MEASURES, made=made, truth=scorer.truth, real=scorer.real, visual=scorer.visual, right=scorer.right,
            models=[[model.backbone, model.sample_rate] for model in scorer.models.values()])[:24] + ".npz")
        if not path.is_file():
            write_arrays(path, scorer.rows(made))
        with np.load(path) as content:
            return dict(content)

    def scores(self, made: Features, split: str = "test") -> list[Score]:
        """Every measure of sounds (n, seeds, ...) of a split's pictures."""
        scorer = self.scorer(split)
        return [*scorer.scores(self.measured(scorer, made, split)), *self.attributes(made, split)]

    # ----------------------------------------------------------------------------------------------------- summary

    def run(self) -> pd.DataFrame:
        """All steps; writes the summary that `results.Results` reads and returns its table evaluation."""
        began, settings = time.perf_counter(), self.settings
        splits = ["test"]
        if settings.pictures == WORLD or (settings.pictures and Path(settings.pictures).is_dir()):
            splits.append("ood")
        elif settings.pictures:
            self._leave_out("pictures", f"{settings.pictures}: no such folder")
        self.plan()
        if any(method.group != "table" for method in self.methods.values()):
            splits.append("sweep")
        tables = self._tables(splits) | {"gap": self._gap()}
        for name, table in tables.items():
            write_table(table, settings.summary / f"{name}.csv")
        counts = {split: len(self.clips(split).ids) for split in splits}
        write_json(settings.summary / "run.json", {
            "stack": self.stack.name, "data": "SoundWorld" if settings.of_world else settings.listing.name,
            "sizes": {"pictures": counts["test"], "ood": counts.get("ood", 0), "sweep": counts.get("sweep", 0),
                      "seeds": settings.seeds, "pairs": self._learned(), "real": settings.real,
                      "gap": len(self.clips("gap").ids), "draws": settings.draws, "steps": settings.steps},
            "threads": torch.get_num_threads(), "seconds": round(time.perf_counter() - began),
            "weights": self.weights(),
            # where it was kept and written says nothing of the numbers, and is a path of one machine
            "configuration": {name: value for name, value in asdict(settings).items() if name not in ("work", "out")},
            "left_out": self.left_out, "few": sorted(self.few),
            "of_the_stack": [name for name, method in self.methods.items() if method.source in (*MAPPERS, "words")],
            "settings": {name: f"{method.source} {json.dumps(method.settings)}, {method.steps} steps, guidance "
                               f"{method.guidance:g}" for name, method in self.methods.items()}})
        return tables["evaluation"]

    def weights(self) -> dict[str, str]:
        """SHA-256 of what saw and what made: whether a summary is of the weights at hand."""
        models = {"clip": self.stack.vision.model}
        if self.stack.has("audioldm"):
            models |= {part: getattr(self.stack.generator, part) for part in ("unet", "vae", "vocoder")}
        return {part: state_sha256(model) for part, model in models.items()}

    def _learned(self) -> int:
        if self.settings.of_world:
            return self.settings.train_clips or 0
        return len(self.pairs().train[0]) if "train" in set(self.store().numpy("split")) else 0

    def _tables(self, splits: list[str]) -> dict[str, pd.DataFrame]:
        """The tables that need sounds; empty where a part for making or scoring them is missing."""
        rows, singles, apart = [], [], []
        try:
            for part in ("audioldm", *BACKBONES):
                self.stack.place(part)
        except ValueError as error:
            self._leave_out("sounds", str(error))
            splits = []
        scorers = {split: self.scorer(split) for split in splits}
        tested: dict[str, dict[str, Rows]] = {"test": {}, "ood": {}}
        if scorers and not scorers["test"].known.any():
            self._leave_out("accuracy", f"{self.stack.tagger.backbone} has none of the pictures' classes")
        for name, method in tqdm(self.methods.items(), "methods", unit="method"):
            for split in ("test", "ood") if method.group == "table" else ("sweep",):
                if split not in scorers or not (paths := self.sounds(name, split)):
                    continue
                made, seconds = self.features(split, paths), self._seconds(name, split, paths)
                parts = {split: made}
                if split == "test" and "sweep" in scorers:  # as many sounds as a sweep has, to compare with it
                    parts["sweep"] = made.rows(self._places_in_test(self.clips("sweep")), slice(1))
                for part, features in parts.items():
                    measured = self.measured(scorers[part], features, part)
                    tested.setdefault(part, {})[name] = measured
                    self.few |= set(scorers[part].few(features))
                    rows += [{"method": name, "group": method.group, "split": part} | row for row in
                             self._rows(scorers[part], measured, features, part, seconds, method)]
                singles += [{"method": name, "split": split} | row
                            for row in self.singles(tested[split][name], made, split)]
        for split in ("test", "ood"):
            apart += [{"method": first, "other": second, "measure": measure} | interval._asdict() | {"split": split}
                      for first, second in COMPARED if {first, second} <= tested[split].keys()
                      for measure, interval in scorers[split].differences(tested[split][first], tested[split][second])]
        for note in self.extractor.said() if scorers else ():
            tqdm.write(note)
        table = pd.DataFrame(singles, columns=None if singles else ["method", "split", "seed"])
        return {"evaluation": pd.DataFrame(rows, columns=COLUMNS),
                "differences": pd.DataFrame(apart, columns=["method", "other", "measure", *Interval._fields, "split"]),
                "sounds": table[(table.seed == 0) & (table.split == "test")], "singles": table}

    def _rows(self, scorer: Scorer, measured: Rows, made: Features, split: str, seconds: np.ndarray,
              method: Method) -> Iterator[dict]:
        """Rows of evaluation.csv for one method and split."""
        n, tagger = len(made.logits), scorer.models["tagger"]
        trained = trained_parameters(self.stack, method)
        scores = [Score("seconds a sound", Interval(seconds.mean(), seconds.min(), seconds.max(), n), seconds, "", 0),
                  Score("trained parameters", Interval(trained, trained, trained, n), np.array([trained]), "", 0)]
        for score in [*scores, *scorer.scores(measured), *self.attributes(made, split)]:
            yield score.row() | {"label": ""}
        labels = np.array([names[0] if names else "" for names in self.clips(split).labels])
        for label in sorted(set(labels[scorer.known])):
            hits = measured["accuracy"][(labels == label) & scorer.known]
            score = Score("accuracy", rate_interval(hits), hits.mean(0), tagger.backbone, tagger.sample_rate)
            yield score.row() | {"label": label}

    def attributes(self, made: Features, split: str) -> Iterator[Score]:
        """What SoundWorld's pictures say of their sounds, as far as it is heard in them; nothing for other clips."""
        scenes = [scene for scene in self.clips(split).scenes if scene is not None]
        if not scenes:
            return
        classes = np.array([scene.label for scene in scenes])
        for column, (name, (rows, truth)) in enumerate(seen_attributes(scenes).items()):
            heard = made.attributes[rows][..., column]
            try:
                by_seed = [attribute_fidelity(heard[:, seed], truth[rows], classes[rows], draws=1).value
                           for seed in range(heard.shape[1])]
                interval = attribute_fidelity(heard, truth[rows], classes[rows], self.settings.draws)
            except ValueError:  # too few pictures of any class
                continue
            yield Score(name, interval, np.array(by_seed), "signal", self.stack.generator.sample_rate)

    def singles(self, measured: Rows, made: Features, split: str) -> Iterator[dict]:
        """Rows of singles.csv: one sound each."""
        clips, seeds = self.clips(split), made.logits.shape[1]
        world = None not in clips.scenes
        truths = {name: np.where(rows, truth, np.nan)
                  for name, (rows, truth) in (seen_attributes(clips.scenes) if world else {}).items()}
        for index, seed in np.ndindex(len(clips.ids), seeds):
            row = {"seed": seed, "index": index, "id": clips.ids[index], "label": next(iter(clips.labels[index]), ""),
                   "right": measured["accuracy"][index, seed] if "accuracy" in measured else np.nan,
                   "CS": measured["CS"][index, seed]}
            yield row | dict(zip(ATTRIBUTES, made.attributes[index, seed] if world else [np.nan] * 3)) | {
                f"true {name}": truth[index] for name, truth in truths.items()}

    def _gap(self) -> pd.DataFrame:
        """What methods leave of the gap, by `gap.measure`: their conditions against the true sounds' embeddings."""
        clips, rows = self.clips("gap"), []
        if len(clips.ids) < GAP_FROM:
            self._leave_out("gap", f"{len(clips.ids)} test clips, where {GAP_FROM} or more are needed")
        table = {name: method for name, method in self.methods.items() if method.group == "table"}
        for name, method in table.items() if len(clips.ids) >= GAP_FROM else ():
            if method.source == "true" or (method.source == "real" and not self.settings.of_world):
                continue  # nothing is left of it
            if method.source == "real":
                takes = [synthesise(other_take(scene, 0)) for scene in clips.scenes]
                cloud = self.stack.audio.embed_audio(takes, SAMPLE_RATE)
            else:
                cloud = clips.conditions(method, self.settings.seed)
            rows += [{"method": name, "measure": measure} | interval._asdict() for measure, interval in gap.measure(
                cloud, clips.audio, draws=self.settings.draws).items()]
        return pd.DataFrame(rows, columns=["method", "measure", *Interval._fields])


def _version(source: Source) -> list:
    """What tells a clip from others of its name and from its own earlier versions."""
    if isinstance(source, WorldSource):
        return [source.id, source.seed, world_code()]
    found: list = [source.id, source.visual]
    for path in (source.visual, source.sound):
        if path:  # times and inode numbers are not the same on every look at some file systems
            with open(path, "rb") as file:
                found += [Path(path).stat().st_size, file.read(1024).hex()]
    return found


def evaluate(settings: Settings, stack: Stack, overwrite: bool = False) -> pd.DataFrame:
    """Run an evaluation.

    Writes into the settings' folder of the summary: evaluation.csv, with a row for each method, split and measure
    (value, 95% interval over pictures, n, range over seeds, backbone, sample rate); differences.csv of COMPARED;
    singles.csv, with a row for each sound; sounds.csv, the rows of one seed of the test split; gap.csv; run.json.
    Returns the table evaluation. FileExistsError, before anything is made, for a summary that is there, unless
    `overwrite`.
    """
    settings.check(overwrite)
    return Evaluation(settings, stack).run()
