"""What the commands do: each takes the parsed options and returns the exit status.

Libraries are imported where they are needed, so that `--help` and `sound` load no more than that.
"""

import argparse
import json
import os
import re
import sys
from functools import partial
from pathlib import Path

from tqdm.auto import tqdm

from v2a_utils.data.files import failure, refuse_existing, write_file
from v2a_utils.options import MAPPER_CHOICES, REFERENCE, SCORES, TRAINING, TRUE, SoundOptions

LISTED = 10  # names in a sentence
WORLD = {"pairs": "pairs", "vggsound": "films", "imagehear": "pictures"}  # formats of SoundWorld, and what they hold
LOOKED_AT = 12  # pictures of a data set, before it is embedded


def sound(options: argparse.Namespace) -> int:
    """A sound for each picture or video."""
    from v2a_utils.data.files import free_targets

    names = ("mapper", "steps", "guidance", "seconds", "candidates", "seed", "scheduler", "vision", "exclude")
    settings = SoundOptions(**{name: getattr(options, name) for name in names})
    if (options.words or options.sounds) and settings.mapper not in (None, "words"):
        raise ValueError("--words and --sounds are for the mapper words: leave out --mapper")
    if options.sync and not options.video:
        raise ValueError("--sync is for --video: a picture has no time")
    inputs, failed = _readable(options.inputs, options.video)
    targets, refused = free_targets(inputs, options.out, "mp4" if options.video else "wav", options.overwrite)
    for sentence in refused:
        print(f"error: {sentence}", file=sys.stderr)
    failed += refused
    unsure = []
    if targets:
        unsure, broken = _make_sounds(targets, settings, options)
        failed += broken
    if len(without := failed + unsure) > 1:  # they have scrolled away
        print(f"{len(without)} without a sound:", *without, sep="\n  ", file=sys.stderr)
    return 2 if failed else 0  # that a photograph shows something else is an answer, and no error


def _readable(paths: list[Path], videos: bool) -> tuple[list[Path], list[str]]:
    """The inputs that files and folders stand for and whose first picture can be read, and what is wrong with others.

    It takes a moment, where the models take seconds to load: what cannot be read is said at once.
    """
    from v2a_utils.data.media import list_inputs, load_frames, video_seconds

    listed, left_out = list_inputs(paths)
    if left_out:
        print(f"left out, as neither pictures nor videos: {len(left_out)} (such as {left_out[0]})")
    if not listed:
        raise ValueError(f"{', '.join(map(str, paths))}: no picture or video in the folder")
    readable, failed = [], []
    for path in dict.fromkeys(listed):
        try:
            video_seconds(path) if videos else load_frames(path, 1)
            readable.append(path)
        except ValueError as error:
            failed.append(str(error))
            print(f"error: {error}", file=sys.stderr)
    return readable, failed


def _make_sounds(targets: dict[Path, Path], settings: SoundOptions,
                 options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Make the sounds and tell of each.

    Returns a sentence for each photograph of nothing that has a sound, and one for each failure.
    """
    from v2a_utils.mappers.photographs import NoSoundError
    from v2a_utils.pipeline import settle
    from v2a_utils.stacks.stack import load_stack

    stack, unsure, failed = load_stack(options.stack, options.device), [], []
    if options.words or options.sounds:
        settings = _with_bridge(stack, settings, options)
    settled = settle(stack, settings)  # says what is missing before anything is made
    options.out.mkdir(parents=True, exist_ok=True)
    making = (_video_sounds(stack, targets, settings, options.sync) if options.video
              else _picture_sounds(stack, targets, settled))
    for path, result in tqdm(making, unit="sound", total=len(targets), disable=len(targets) < 2):
        if isinstance(result, Exception):
            sentence = failure(result) if str(path) in str(result) else f"{path}: {failure(result)}"
            kind, sentences = ("no sound", unsure) if isinstance(result, NoSoundError) else ("error", failed)
            sentences.append(sentence)
            tqdm.write(f"{kind}: {sentence}", file=sys.stderr)
        else:
            _tell(path, targets[path], result, stack, settled.mapper)
    return unsure, failed


def _picture_sounds(stack, targets: dict[Path, Path], settings):
    """Each input with the sound that was made from it and written, or with the error that prevented it.

    All pictures are embedded and mapped first, and the models for that are released before the generator is loaded.
    """
    from v2a_utils.data.audio import save_audio
    from v2a_utils.data.media import MediaError, load_frames
    from v2a_utils.pipeline import embed_files, embedding_to_sound, map_picture

    seen, mapped = dict(zip(targets, embed_files(stack, list(targets)))), {}
    for path, visual in seen.items():
        try:
            if not isinstance(visual, MediaError):
                mapped[path] = map_picture(stack, visual, partial(load_frames, path), settings)
        except MediaError as error:  # a photograph of something that SoundWorld lacks, or a file that vanished
            seen[path] = error
    stack.release("vision", "photo")
    stack.cache.clear()
    if settings.candidates > 1 and mapped:
        stack.release_texts()
    for path, visual in seen.items():
        try:
            if path not in mapped:
                yield path, visual  # what was wrong with the file
                continue
            condition, look = mapped[path]
            sound = embedding_to_sound(stack, visual, condition, settings, look=look)
            save_audio(targets[path], sound.waveform, sound.sample_rate)
            yield path, sound
        except (FloatingPointError, OSError) as error:
            yield path, error


def _video_sounds(stack, targets: dict[Path, Path], settings, sync: bool):
    """Each video with the sound that was made from it and written with it, or with the error that prevented it."""
    from v2a_utils.data.media import MediaError, put_sound
    from v2a_utils.pipeline import video_to_sound

    for path, target in targets.items():
        try:
            sound = video_to_sound(stack, path, settings, sync)
            put_sound(path, target, sound.waveform, sound.sample_rate)
            yield path, sound
        except (MediaError, FloatingPointError, OSError) as error:
            yield path, error


def _with_bridge(stack, settings, options: argparse.Namespace):
    """The settings with the mapper words, now a bridge built from the options' sentences and sounds."""
    from dataclasses import replace

    from v2a_utils.mappers.registry import put_mapper, words_bridge

    bridge = words_bridge(stack, options.words, options.sounds)
    _warn_of_words(stack, bridge.config["sentences"] if options.words else [])
    put_mapper(stack, "words", bridge)
    return replace(settings, mapper="words")


def _tell(source: Path, target: Path, sound, stack, mapper: str) -> None:
    """Say of a sound which way its picture went, what was seen and how surely, and what of it can be trusted."""
    heard, look, lines = _shares(sound.heard), sound.look, []
    tqdm.write(f"{source} -> {target}" + (f"   sounds like: {heard}" if heard else ""))
    if look.by_classifiers:
        name, share = look.chosen
        lines.append(f"taken for a photograph: the classifiers saw {_shares(look.seen)}; chosen: {name}, {share:.0%}")
    elif look.seen or look.drawn:
        kind = "taken for a drawing: " if look.drawn else ""
        lines.append(f"{kind}CLIP saw {_shares(look.seen)}; by the mapper {mapper}")
    if look.drawn is False and not look.by_classifiers:
        lines.append(f"not one of the drawings that the stack {stack.name} knows: do not trust its sound"
                     + ("; without --mapper and --vision the classifiers of photographs look" * stack.has("photo")))
    elif sound.out_of_distribution and not look.by_classifiers:
        whose = f"the stack {stack.name}" if mapper in MAPPER_CHOICES else f"the mapper {mapper}"
        lines.append(f"unlike the pictures that {whose} was trained on: do not trust its sound")
    for line in lines:
        tqdm.write(f"  {source.name}: {line}")


def _shares(named: list[tuple[str, float]]) -> str:
    return ", ".join(f"{name} {share:.0%}" if share >= 0.01 else f"{name} <1%" for name, share in named)


def fetch(options: argparse.Namespace) -> int:
    """The real models' public files."""
    from v2a_utils.stacks.fetching import TABLE, describe, fetch_all, take_all
    from v2a_utils.stacks.places import public_folders

    items, folders = [item for item in TABLE if options.purpose in item.purposes], public_folders()
    if options.list:
        print(describe(TABLE, folders))
        return 0
    if options.carried:
        take_all(items, folders, options.carried)
    elif not fetch_all(items, folders, lambda sentence: _agreed(sentence, options.yes)):
        print("nothing was fetched")
        return 2
    print(f"all that is needed for {options.purpose} is there; no variable has to be set")
    return 0


def _agreed(sentence: str, beforehand: bool) -> bool:
    """Whether the person at the terminal agrees, or has agreed. ValueError where there is nobody to ask."""
    print(sentence, flush=True)
    if beforehand:
        return True
    if not sys.stdin.isatty():
        raise ValueError("nobody is there to agree to this: add --yes")
    return input("Fetch them? [y/N] ").strip().lower() in ("y", "yes")


def world(options: argparse.Namespace) -> int:
    """SoundWorld's pictures, sounds and labels, or films and pictures in the form of the paper's data sets."""
    from soundworld import layouts

    if options.split and options.format != "pairs":
        raise ValueError(f"--split {options.split} is for pairs: the format {options.format} has splits of its own")
    of = {"split": options.split or "test"} if options.format == "pairs" else {}
    files = getattr(layouts, options.format)(count=options.count, seed=options.seed, **of)
    todo = [name for name in files if not (name.endswith(".mp4") and (options.out / name).is_file())]  # films are kept
    refuse_existing((options.out / name for name in todo), options.overwrite)
    for name in tqdm(todo, unit="file"):
        write_file(options.out / name, files[name]())
    print(f"{options.count} {WORLD[options.format]} in {options.out}")
    return 0


def embed(options: argparse.Namespace) -> int:
    """A data set's embeddings into a store."""
    from v2a_utils.data.sources import open_source
    from v2a_utils.data.store import Store

    Store(options.out).refuse_existing(options.resume)
    listing = open_source(options.source, options.clips, options.seed, options.limit, options.splits)
    print(listing.summary())

    from v2a_utils.stacks.extraction import EmbedOptions, embed, run_here
    from v2a_utils.stacks.stack import load_stack

    settings = EmbedOptions(options.aggregate, options.frame_rate, options.seed)
    run = run_here
    if options.engine == "ray":
        from v2a_utils.stacks.extraction_on_ray import run_on_ray as run
    stack = load_stack(options.stack, options.device)
    _warn_of_pictures(stack, [source.visual for source in listing.sources if hasattr(source, "visual")])
    store = embed(listing, stack, options.out, settings, options.resume, run)
    skipped = store.skipped()
    for name, reason in skipped[:LISTED]:
        print(f"not embedded: {name} ({reason})", file=sys.stderr)
    unread = f"; {len(skipped)} could not be embedded" if skipped else ""
    print(f"{len(store)} clips in {options.out}{unread}" + (", see skipped.csv" if unread or listing.left_out else ""))
    return 2 if skipped else 0


def _warn_of_pictures(stack, paths: list[str]) -> None:
    """Say, before the wait, if most pictures are none that a CLIP of drawings knows; a few of them tell."""
    from v2a_utils.data.media import load_frames
    from v2a_utils.pipeline import is_drawn

    drawn = []
    for path in paths[:: max(len(paths) // LOOKED_AT, 1)][:LOOKED_AT] if stack.config.draws else []:
        try:
            frames = load_frames(path, 1)
        except ValueError:  # named when it is embedded
            continue
        drawn.append(is_drawn(stack, stack.vision.embed_frames(frames), partial(list, frames)))
    if sum(drawn) < len(drawn) / 2:
        print(f"{len(drawn) - sum(drawn)} of {len(drawn)} pictures looked at are {_strangers(stack.name)}")


def _strangers(stack: str) -> str:
    return (f"no drawings of SoundWorld: the CLIP of the stack {stack} knows drawings of 20 things only, and hardly "
            "tells others apart; embed them with --stack paper")


def train(options: argparse.Namespace) -> int:
    """A mapper from a store's pairs."""
    from v2a_utils.data.pairs import read_pairs

    out = options.out or Path("results/mappers") / options.mapper
    if not (out / "checkpoint.pt").is_file():  # else the training goes on
        refuse_existing((out / name for name in TRAINING), options.overwrite)
    pairs = read_pairs(options.store)
    number = len(pairs.train[0])
    print(*pairs.notes, sep="\n")

    from v2a_utils.mappers.own import how_sure, train_on_pairs
    from v2a_utils.mappers.recipes import PAIRS_WORTH_TRAINING, read_recipe, recipe_for
    from v2a_utils.models.clip import Familiarity
    from v2a_utils.stacks.places import stack_config
    from v2a_utils.stacks.stack import best_device, usable

    stack = options.stack or pairs.settings.get("stack") or os.environ.get("V2A_STACK", "mini")
    recipe, config = recipe_for(stack, options.mapper, number), stack_config(stack)
    if options.config:
        recipe = read_recipe(options.config, recipe)
    if config.draws and pairs.settings.get("stack") == stack:
        known = Familiarity.load(config.path("familiarity"))
        if (strange := (known.distance(pairs.train[0]) > known.limit).mean()) > 0.5:
            print(f"{strange:.0%} of the pictures are {_strangers(stack)}")
        elif number < PAIRS_WORTH_TRAINING:
            print(f"{number} pairs to train on: on SoundWorld, with fewer than {PAIRS_WORTH_TRAINING}, the bridge over "
                  "words, which needs none, comes nearer to the true sounds (try sound --mapper words)")
    device = usable(options.device) if options.device else best_device()
    _, numbers = train_on_pairs(pairs, recipe, out, device, overwrite=options.overwrite)
    print(how_sure(numbers))
    print(f"{options.mapper} mapper in {out}: sound PICTURE --mapper {out}")
    return 0


def bridge(options: argparse.Namespace) -> int:
    """A mapper from sentences and sounds."""
    refuse_existing((options.out / name for name in ("config.json", "model.safetensors")), options.overwrite)

    from v2a_utils.mappers.bridge import sound_paths
    from v2a_utils.mappers.registry import save_mapper, words_bridge
    from v2a_utils.stacks.stack import load_stack

    stack = load_stack(options.stack, options.device)
    bridge = words_bridge(stack, options.words, options.sounds, "draw" if options.draw else "mean")
    _warn_of_words(stack, bridge.config["sentences"] if options.words else [])
    save_mapper(bridge, options.out, overwrite=options.overwrite)
    print(f"a bridge over {len(bridge.sentences)} sentences and {len(bridge.sounds)} sounds in {options.out}")
    return 2 if options.sounds and len(sound_paths(options.sounds)) > len(bridge.sounds) else 0


def _warn_of_words(stack, sentences: list[list[str]]) -> None:
    """Name the words that a CLAP with a vocabulary of its own was never taught."""
    if sentences and stack.config.path("words") == stack.config.clap:
        tokenizer = stack.audio.tokenizer
        words = {word for pair in sentences for text in pair for word in re.findall(r"[\w']+", text.lower())}
        unknown = sorted(word for word in words if tokenizer.unk_token in tokenizer.tokenize(word))
        if unknown:
            more = f" and {len(unknown) - LISTED} more" if unknown[LISTED:] else ""
            print(f"the stack {stack.name} was never taught these words: {', '.join(unknown[:LISTED])}{more}; "
                  "sentences with them mean little to it")


def evaluate(options: argparse.Namespace) -> int:
    """Every method's sounds through every measure."""
    from v2a_utils.evaluation.settings import Settings, world_settings

    if options.data:
        return _evaluate_data(options)
    if options.clips:
        raise ValueError("--clips is for --data")
    given = world_settings(options.quick)
    if options.n is not None:
        half = max(options.n // 2, 4)
        given |= {"test_clips": options.n, "picture_clips": half, "sweep_clips": half}
    given |= {"seeds": options.seeds} if options.seeds is not None else {}
    given |= {"methods": tuple(options.methods)} if options.methods else {}
    stack = options.stack or os.environ.get("V2A_STACK", "mini")
    settings = Settings(**given, stack=stack, out=str(options.out or Path("results/evaluation") / stack))
    settings.check(options.overwrite)

    from v2a_utils.evaluation.run import evaluate
    from v2a_utils.stacks.stack import load_stack

    table = evaluate(settings, load_stack(stack, options.device), options.overwrite)
    print(f"{len(table)} numbers in {settings.summary}")
    return 0


def _evaluate_data(options: argparse.Namespace) -> int:
    """The evaluation of a store, a source or a configuration; mappers are used, not trained."""
    from v2a_utils.data.files import cache_folder
    from v2a_utils.evaluation.settings import FILES, Settings, read_settings

    given = {"methods": tuple(options.methods) if options.methods else None, "stack": options.stack,
             "test_clips": options.n, "seeds": options.seeds, "clips": options.clips and str(options.clips),
             "out": options.out and str(options.out)}
    given |= {"test_clips": options.n or 6, "steps": 1, "draws": 10, "quick": True} if options.quick else {}
    given = {name: value for name, value in given.items() if value is not None}
    if Path(options.data).suffix.lower() in FILES:
        return _reproduce(read_settings(options.data, **given), options)
    store = Settings(options.data).store
    stack = (store is not None and store.settings.get("stack")) or os.environ.get("V2A_STACK", "mini")
    out = Path("results/evaluation") / Path(options.data).resolve().name
    return _reproduce(Settings(options.data, **{"stack": stack, "work": str(cache_folder("evaluation")),
                                                "out": str(out), "mappers": ()} | given), options)


def reproduce(options: argparse.Namespace) -> int:
    """From lists of clips and pictures to the paper's tables."""
    from v2a_utils.evaluation.settings import read_settings

    return _reproduce(read_settings(options.config, out=options.out, engine=options.engine), options)


def _reproduce(settings, options: argparse.Namespace) -> int:
    settings.check(options.overwrite)

    from v2a_utils.evaluation.results import Results, few_note, paper_form
    from v2a_utils.evaluation.run import evaluate
    from v2a_utils.evaluation.settings import Published
    from v2a_utils.stacks.stack import load_stack

    if isinstance(settings, Published):
        from v2a_utils.evaluation.scoring import nearest, recompute

        table = recompute(settings, load_stack(settings.stack, options.device), options.overwrite)
        print(table.to_string(index=False, float_format="{:.3f}".format), nearest(table), sep="\n")
        return 0
    evaluate(settings, load_stack(settings.stack, options.device), options.overwrite)
    results = Results.read(settings.summary)
    print(paper_form(results).to_string())
    print(*few_note(results), f"summary in {settings.summary}", sep="\n")
    if results.run["left_out"]:
        print(f"not measured: {', '.join(results.run['left_out'])}")
    return 0


def generate(options: argparse.Namespace) -> int:
    """A sound file for every row of a store."""
    from v2a_utils.data.sources import open_source
    from v2a_utils.data.store import Store

    given = {name: getattr(options, name) for name in ("steps", "guidance", "candidates", "seed", "exclude")}
    settings, store, status = SoundOptions(**given), Store(options.store), 0
    if options.mapper == REFERENCE:
        listing = open_source(options.store, options.clips, limit=options.limit)
    elif options.mapper != TRUE:
        SoundOptions(options.mapper)  # which knows them all
    if options.mapper != REFERENCE and not len(store):
        raise ValueError(f"{options.store}: no clip in it")

    from v2a_utils import sound_files
    from v2a_utils.stacks.stack import load_stack

    stack = load_stack(options.stack, options.device)
    if options.mapper == REFERENCE:
        generator = stack.generator
        paths = sound_files.copy_references(listing, options.out, generator.sample_rate, generator.clip_seconds,
                                            options.format)
        status = 2 if len(paths) < len(listing.sources) else 0
    else:
        run = sound_files.run_on_ray if options.engine == "ray" else sound_files.run_here
        paths = sound_files.generate(stack, store, options.mapper, options.out, settings, options.seeds,
                                     options.format, run, options.limit)
    print(f"{len(paths)} sounds in {options.out}")
    return status


def score(options: argparse.Namespace) -> int:
    """Any sounds against reference sounds."""
    refuse_existing((options.out / name for name in SCORES), options.overwrite)

    from v2a_utils.evaluation.scoring import score
    from v2a_utils.stacks.places import TAGGERS
    from v2a_utils.stacks.stack import load_stack

    stacks = {name for name in (options.stack, *options.listeners) if name and name not in TAGGERS}
    if len(stacks) > 1:
        raise ValueError(f"audio backbones of {' and '.join(sorted(stacks))}: those of one stack at a time")
    table = score(load_stack(next(iter(stacks), None), options.device), options.sounds, options.reference,
                  options.pictures, options.labels, options.out, options.listeners, options.seconds, options.ids,
                  options.per_clip, options.overwrite)
    print(table.drop(columns="interval_by").to_string(index=False, float_format="%.4g"))
    print(f"in {options.out}")
    notes = json.loads((options.out / "scores.json").read_text())["notes"]
    return 2 if any(note.startswith("left out") for note in notes) else 0
