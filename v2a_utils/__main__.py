"""The commands: python -m v2a_utils sound | fetch | world | embed | train | bridge | pretrain | report | evaluate."""

import argparse
import csv
import os
import sys
import tempfile
import traceback
import warnings
from dataclasses import asdict
from pathlib import Path

from tqdm.auto import tqdm

REPORT_NAME = "REPORT.md"
EXAMPLES = {  # shown below the options of `--help`; a test parses each of them
    "sound": "sound cat.png clip.mp4 --out sounds --mapper regression --seed 7",
    "fetch": "fetch --for sound --yes",
    "world": "world --out world --split test --count 20",
    "embed": "embed my_clips --out store",
    "train": "train store --mapper diffusion --out my_mapper",
    "bridge": "bridge --words sentences.txt --sounds recordings --out my_bridge",
    "pretrain": "pretrain --out trial --work runs/trial --shrink 100",
    "report": "report --count 64 --out REPORT.md",
    "evaluate": "evaluate --quick",
    "generate": "generate store --mapper diffusion --out sounds",
    "score": "score sounds --reference true_sounds --pictures store --labels labels.csv",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status.

    0: done. 2: an input or an argument was bad, said in one sentence. 1: an error of an unexpected kind, whose
    traceback was written to a file that the message names. 130: interrupted from the keyboard.
    """
    warnings.filterwarnings("ignore", category=FutureWarning)  # of libraries about other libraries
    warnings.filterwarnings("ignore", message=".*torch.meshgrid.*")
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except (ValueError, FloatingPointError, FileExistsError, NotADirectoryError, PermissionError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        print(f"error: {_in_one_line(error)}; the traceback is in {_written_traceback()}", file=sys.stderr)
        return 1


def _in_one_line(error: Exception) -> str:
    """An error's type and the first line of what it says."""
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"


def _written_traceback() -> Path:
    """A new file in the temporary folder with the traceback of the error that is being handled."""
    with tempfile.NamedTemporaryFile("w", prefix="v2a-error-", suffix=".txt", delete=False) as file:
        file.write(traceback.format_exc())
    return Path(file.name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m v2a_utils", description="Pictures into sound.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    sound = commands.add_parser("sound", help="make a sound for each picture, video or folder of them")
    sound.add_argument("inputs", nargs="+", metavar="PICTURE_OR_VIDEO")
    sound.add_argument("--out", type=Path, default=Path("out"), help="folder for the wav files (default: out)")
    sound.add_argument("--video", action="store_true", help="write videos with a sound of their length, as mp4")
    sound.add_argument("--overwrite", action="store_true", help="replace files in --out that have the names of the new")
    sound.add_argument("--mapper", metavar="KIND_OR_FOLDER", help="diffusion, regression, flow, words (no training), "
                       "none, or the folder of a trained one (default: diffusion where one is trained, else words)")
    _add_words(sound)
    sound.add_argument("--vision", default="auto", choices=("auto", "clip", "photo"), help="who looks at the picture: "
                       "CLIP, or a classifier of photographs (default: CLIP, but for photographs on a stack of drawings)")
    sound.add_argument("--steps", type=int, default=25, help="denoising steps (default: 25)")
    sound.add_argument("--guidance", type=float, default=2.0, help="guidance scale, 1 is none (default: 2)")
    sound.add_argument("--scheduler", default="dpm++", choices=("dpm++", "ddim", "ddpm", "euler", "unipc"),
                       help="of the denoising (default: dpm++, which needs the fewest steps)")
    sound.add_argument("--seconds", type=float, help="length (default: the stack's clip length)")
    sound.add_argument("--candidates", type=int, default=3, help="sounds to choose the best from (default: 3)")
    sound.add_argument("--seed", type=int, default=0)
    sound.add_argument("--stack", choices=("mini", "paper"), help="default: $V2A_STACK, or mini")
    sound.set_defaults(run=_sound)

    fetch = commands.add_parser("fetch", help="get the public models and lists that the stack paper needs")
    fetch.add_argument("--for", dest="purpose", default="sound", choices=("sound", "training", "evaluation"),
                       help="what they shall be there for (default: sound)")
    fetch.add_argument("--yes", action="store_true", help="agree to sizes and licences beforehand, as scripts must")
    fetch.add_argument("--list", action="store_true", help="only print what there is and what of it lies here")
    fetch.add_argument("--from", dest="carried", type=Path, metavar="FOLDER",
                       help="take the files from here, without a network")
    fetch.set_defaults(run=_fetch)

    world = commands.add_parser("world", help="write pictures, sounds and labels of SoundWorld")
    world.add_argument("--out", type=Path, required=True)
    world.add_argument("--split", default="test", choices=("train", "val", "test", "ood"))
    world.add_argument("--count", type=int, default=20)
    world.add_argument("--seed", type=int, default=0)
    world.set_defaults(run=_world)

    embed = commands.add_parser("embed", help="CLIP and CLAP embeddings of a data set, as a table in Parquet")
    embed.add_argument("source", metavar="SOURCE", help="soundworld:SPLIT, a folder of pairs or of ImageHear, or "
                       "VGGSound's .csv file with --clips")
    embed.add_argument("--clips", type=Path, help="folder of VGGSound's videos")
    embed.add_argument("--out", required=True, metavar="STORE", help="folder, or URL of an object store")
    embed.add_argument("--stack", choices=("mini", "paper"), help="default: $V2A_STACK, or mini")
    embed.add_argument("--aggregate", default="mean", choices=("mean", "middle", "random", "first", "none"),
                       help="what becomes of a video's frames; none keeps them all (default: mean)")
    embed.add_argument("--frame-rate", type=float, default=1.0, help="frames of a video per second (default: 1)")
    embed.add_argument("--limit", type=int, help="at most so many clips (default: all, of SoundWorld 1000)")
    embed.add_argument("--splits", type=float, nargs=3, metavar=("TRAIN", "VAL", "TEST"), help="shares of a data set "
                       "that has no splits, drawn by a hash of each clip's id (default: 80 10 10)")
    embed.add_argument("--seed", type=int, default=0, help="of SoundWorld and of random frames")
    embed.add_argument("--resume", action="store_true", help="go on with a store that an earlier run began")
    embed.add_argument("--engine", default="local", choices=("local", "ray"), help="this machine, or a Ray cluster")
    embed.set_defaults(run=_embed)
    train = commands.add_parser("train", help="train a mapper on a table of embedded pairs")
    train.add_argument("store", metavar="STORE", help="what embed wrote, or a Parquet table with its columns")
    train.add_argument("--mapper", required=True, choices=("regression", "diffusion", "flow"))
    train.add_argument("--stack", choices=("mini", "paper"), help="whose recipe (default: the store's)")
    train.add_argument("--config", type=Path, help="JSON file with what the recipe shall have otherwise")
    train.add_argument("--out", type=Path, help="folder for weights and checkpoint (default: runs/mappers/MAPPER)")
    train.set_defaults(run=_train)

    bridge = commands.add_parser("bridge", help="make a mapper out of sentences and sounds, without a single pair")
    _add_words(bridge)
    bridge.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for the mapper, which "
                        "`sound --mapper FOLDER` uses")
    bridge.add_argument("--draw", action="store_true", help="draw one sound at random, not the mean of all that "
                        "fit")
    bridge.add_argument("--stack", choices=("mini", "paper"), help="default: $V2A_STACK, or mini")
    bridge.set_defaults(run=_bridge)

    pretrain = commands.add_parser("pretrain", help="train the mini stack anew (hours on two cores)")
    pretrain.add_argument("--out", type=Path, default=Path("data/mini"))
    pretrain.add_argument("--work", type=Path, default=Path("runs/pretrain"), help="rendered data and checkpoints")
    pretrain.add_argument("--only", nargs="+", metavar="PART", help="train these parts only")
    pretrain.add_argument("--seed", type=int, default=0)
    pretrain.add_argument("--shrink", type=int, default=1, help="divide data and steps by this, for a trial")
    pretrain.set_defaults(run=_pretrain)

    report = commands.add_parser("report", help="measure the mini stack and write its REPORT.md")
    report.add_argument("--count", type=int, default=512, help="pictures (default: 512)")
    report.add_argument("--out", type=Path, default=Path("data/mini") / REPORT_NAME)
    report.set_defaults(run=_report)

    evaluate = commands.add_parser("evaluate", help="every method's sounds through every measure, as tables")
    evaluate.add_argument("--methods", nargs="+", metavar="METHOD", help="only these (default: all, sweeps included)")
    evaluate.add_argument("--n", type=int, help="pictures of the test split; of others half as many (default: 256)")
    evaluate.add_argument("--seeds", type=int, help="sounds of each picture and method (default: 3)")
    evaluate.add_argument("--stack", choices=("mini", "paper"), help="default: $V2A_STACK, or mini")
    evaluate.add_argument("--out", type=Path, help="folder of the summary (default: data/results for the whole "
                          "evaluation of the stack whose summary it holds, else results/evaluation/STACK)")
    evaluate.add_argument("--quick", action="store_true", help="a few pictures and one step: does it run?")
    evaluate.set_defaults(run=_evaluate)

    generate = commands.add_parser("generate", help="a sound file for every row of a table of embeddings")
    generate.add_argument("store", metavar="STORE", help="what `embed` wrote; with --mapper reference a SOURCE of it")
    generate.add_argument("--mapper", required=True, metavar="KIND_OR_FOLDER", help="diffusion, regression, flow, words, "
                          "none, the folder of a trained one, true (CLAP's embedding of each true sound), or reference "
                          "(the true sounds themselves)")
    generate.add_argument("--out", type=Path, required=True, help="folder for the sounds, named by the clips' ids")
    generate.add_argument("--clips", type=Path, help="folder of VGGSound's videos, for --mapper reference")
    generate.add_argument("--steps", type=int, default=25, help="denoising steps (default: 25)")
    generate.add_argument("--guidance", type=float, default=2.0, help="guidance scale, 1 is none (default: 2)")
    generate.add_argument("--candidates", type=int, default=1, help="sounds to choose the best from (default: 1)")
    generate.add_argument("--seeds", type=int, default=1, help="sounds of each row, each seed in a folder of its own")
    generate.add_argument("--seed", type=int, default=0, help="the first seed (default: 0)")
    generate.add_argument("--limit", type=int, help="of a SOURCE, at most so many clips")
    generate.add_argument("--format", default="flac", choices=("flac", "wav"))
    generate.add_argument("--stack", choices=("mini", "paper"), help="default: $V2A_STACK, or mini")
    generate.add_argument("--engine", default="local", choices=("local", "ray"), help="this machine, or a Ray cluster")
    generate.set_defaults(run=_generate)

    score = commands.add_parser("score", help="any folder of sounds against reference sounds: FD, FAD, KL, IS, CS, ...")
    score.add_argument("sounds", type=Path, metavar="SOUNDS", help="folder of sound files, or of one folder a seed")
    score.add_argument("--reference", type=Path, required=True, metavar="SOUNDS", help="folder of the true sounds")
    score.add_argument("--pictures", type=Path, metavar="STORE", help="what `embed` wrote of the pictures: for CS")
    score.add_argument("--labels", type=Path, metavar="CSV", help="columns id and label: for accuracy")
    score.add_argument("--stack", choices=("mini", "paper"), help="whose evaluating models (default: $V2A_STACK, or "
                       "mini); those of paper are CNN14 at 16 kHz, VGGish and Wav2CLIP")
    score.add_argument("--out", type=Path, default=Path("results/scores"), help="folder for scores.csv and scores.json "
                       "(default: results/scores)")
    score.add_argument("--draws", type=int, default=200, help="of the bootstrap (default: 200)")
    score.set_defaults(run=_score)
    for name, command in commands.choices.items():
        command.epilog = f"Example: python -m v2a_utils {EXAMPLES[name]}"
    return parser


def _add_words(command: argparse.ArgumentParser) -> None:
    """The options that say what a bridge over words is made of."""
    command.add_argument("--words", type=Path, metavar="FILE", help="sentences for the mapper words, one a line "
                         "(default: those of the stack)")
    command.add_argument("--sounds", metavar="FOLDER_OR_STORE", help="sounds for the mapper words, of nothing in "
                         "particular (default: those of the stack, if it has any)")


def _sound(options: argparse.Namespace) -> int:
    from v2a_utils.data.media import list_inputs
    from v2a_utils.models.stacks import load_stack
    from v2a_utils.pipeline import SoundOptions, settle

    names = ("mapper", "steps", "guidance", "seconds", "candidates", "seed", "scheduler", "vision")
    settings = SoundOptions(**{name: getattr(options, name) for name in names})
    inputs = list_inputs(options.inputs)
    if not inputs:
        raise ValueError(f"{', '.join(options.inputs)}: no picture or video in the folder")
    stack = load_stack(options.stack)
    if options.words or options.sounds:
        settings = _with_bridge(stack, settings, options)
    settled = settle(stack, settings)  # says what is missing before anything is made
    options.out.mkdir(parents=True, exist_ok=True)
    targets, failures = _targets(inputs, options.out, "mp4" if options.video else "wav", options.overwrite)
    making = _video_sounds(stack, targets, settings) if options.video else _picture_sounds(stack, targets, settled)
    for path, made in tqdm(making, unit="sound", total=len(targets), disable=len(targets) < 2):
        if isinstance(made, Exception):
            failures.append(made if str(path) in str(made) else f"{path}: {made}")
            tqdm.write(f"error: {failures[-1]}", file=sys.stderr)
        else:
            _tell(path, targets[path], made, stack.name)
    return 2 if failures else 0


def _targets(inputs: list[Path], out: Path, ending: str, overwrite: bool) -> tuple[dict[Path, Path], list[str]]:
    """Where the sound of each input goes, and why some have none: nobody's file is replaced unasked, no input ever."""
    taken, targets, refused = set(), {}, []
    originals = {path.resolve() for path in inputs}
    for path in dict.fromkeys(inputs):
        target = out / f"{_free_name(path.stem, taken)}.{ending}"
        if target.resolve() in originals:
            refused.append(f"{path}: its sound would replace an input, {target}; give another --out")
        elif target.exists() and not overwrite:
            refused.append(f"{target}: is there already and stays as it is; --overwrite replaces it")
        else:
            targets[path] = target
    for sentence in refused:
        print(f"error: {sentence}", file=sys.stderr)
    return targets, refused


def _picture_sounds(stack, targets: dict[Path, Path], settings):
    """Each input with the sound that was made of it and written, or with what kept it from that.

    All pictures are embedded and mapped first, and the models for it are let go before the generator is loaded.
    """
    from v2a_utils.data.audio import save_audio
    from v2a_utils.data.media import MediaError, load_frames
    from v2a_utils.pipeline import embed_files, embedding_to_sound, map_picture

    seen, mapped = dict(zip(targets, embed_files(stack, list(targets)))), {}
    for path, visual in seen.items():
        try:
            if not isinstance(visual, MediaError):
                mapped[path] = map_picture(stack, visual, lambda: load_frames(path), settings)
        except MediaError as error:  # a photograph of something that SoundWorld lacks
            seen[path] = error
    stack.release("vision", "photo")
    stack.kept.clear()
    if settings.candidates > 1 and mapped:
        stack.release_texts()
    for path, visual in seen.items():
        try:
            if path in mapped:
                condition, words = mapped[path]
                visual = embedding_to_sound(stack, visual, condition, settings, words=words)
                save_audio(targets[path], visual.waveform, visual.sample_rate)
            yield path, visual
        except FloatingPointError as error:
            yield path, error


def _video_sounds(stack, targets: dict[Path, Path], settings):
    """Each video with the sound that was made of it and put to it, or with what kept it from that."""
    from v2a_utils.data.media import MediaError, put_sound
    from v2a_utils.pipeline import video_to_sound

    for path, target in targets.items():
        try:
            sound = video_to_sound(stack, path, settings)
            put_sound(path, target, sound.waveform, sound.sample_rate)
            yield path, sound
        except (MediaError, FloatingPointError) as error:
            yield path, error


def _with_bridge(stack, settings, options: argparse.Namespace):
    """The settings with the mapper words, which a bridge out of the options' sentences and sounds now stands for."""
    from dataclasses import replace

    from v2a_utils.mappers.bridge import words_bridge
    from v2a_utils.mappers.folders import put_mapper

    if settings.mapper not in (None, "words"):
        raise ValueError("--words and --sounds are for the mapper words: leave out --mapper")
    put_mapper(stack, "words", words_bridge(stack, options.words, options.sounds))
    return replace(settings, mapper="words")


def _tell(source: Path, target: Path, sound, stack_name: str) -> None:
    heard = ", ".join(f"{name} {share:.0%}" for name, share in sound.heard)
    tqdm.write(f"{source} -> {target}" + (f"   sounds like: {heard}" if heard else ""))
    if sound.words:
        seen = ", ".join(f"{name} {share:.0%}" for name, share in sound.words)
        tqdm.write(f"  {source.name} went the way of photographs: the classifier saw {seen}; over words to a sound")
    elif sound.strange:
        tqdm.write(
            f"  {source.name} is unlike the pictures that the stack {stack_name} was trained on: do not trust its sound"
        )


def _fetch(options: argparse.Namespace) -> int:
    from v2a_utils.models.downloads import TABLE, describe, needed
    from v2a_utils.models.fetching import fetch_all, take_all
    from v2a_utils.models.stacks import public_folders

    items, folders = needed(options.purpose), public_folders()
    if options.list:
        print(describe(list(TABLE), folders))
        return 0
    if options.carried:
        take_all(items, folders, options.carried)
    elif not fetch_all(items, folders, lambda sentence: _agreed(sentence, options.yes)):
        print("nothing was fetched")
        return 2
    print(f"all that is needed for {options.purpose} is there; no variable has to be set")
    return 0


def _agreed(sentence: str, beforehand: bool) -> bool:
    """Whether the person at the terminal agrees, or has. ValueError where there is none."""
    print(sentence, flush=True)
    if beforehand:
        return True
    if not sys.stdin.isatty():
        raise ValueError("nobody is there to agree to this: add --yes")
    return input("Fetch them? [y/N] ").strip().lower() in ("y", "yes")


def _free_name(stem: str, taken: set[str]) -> str:
    """The stem, with a number when an earlier input of this run has the same."""
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}-{number}"
    taken.add(name)
    return name


def _world(options: argparse.Namespace) -> int:
    from v2a_utils.data.audio import save_audio
    from v2a_utils.soundworld import SAMPLE_RATE, draw, make_scene, picture_caption, sound_caption, synthesise

    if options.count < 1:
        raise ValueError(f"count is {options.count}: give 1 or more")
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for index in tqdm(range(options.count), unit="pair"):
        scene = make_scene(options.split, index, options.seed)
        draw(scene).save(options.out / f"{scene.id}.png")
        save_audio(options.out / f"{scene.id}.wav", synthesise(scene), SAMPLE_RATE)
        rows.append({"id": scene.id, "class": "+".join(scene.labels), "caption": picture_caption(scene),
                     "sound_caption": sound_caption(scene)} | _attributes(scene))
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with open(options.out / "labels.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{options.count} pairs in {options.out}")
    return 0


def _attributes(scene) -> dict:
    """Every attribute of a scene as columns; the second thing's carry a 2."""
    columns = {"style": scene.style, "background": scene.background, "light": scene.light, "stroke": scene.stroke}
    for number, thing in enumerate(scene.things, start=1):
        mark = "" if number == 1 else str(number)
        columns |= {f"{name}{mark}": value for name, value in asdict(thing).items()}
    return columns


def _embed(options: argparse.Namespace) -> int:
    from v2a_utils.data.sources import open_source
    from v2a_utils.models.extraction import EmbedOptions, embed, run_here
    from v2a_utils.models.stacks import load_stack

    if options.limit is not None and options.limit < 1:
        raise ValueError(f"limit is {options.limit}: give 1 or more")
    if options.seed < 0:
        raise ValueError(f"seed is {options.seed}: give 0 or more")
    settings = EmbedOptions(options.aggregate, options.frame_rate, options.seed)
    run = run_here
    if options.engine == "ray":
        from v2a_utils.models.extraction_on_ray import run_on_ray as run
    listing = open_source(options.source, options.clips, options.seed, options.limit, options.splits)
    print(listing.summary())
    store = embed(listing, load_stack(options.stack), options.out, settings, options.resume, run)
    unread = f"; {len(store.skipped())} could not be embedded" if store.skipped() else ""
    print(f"{len(store)} clips in {options.out}{unread}" + (", see skipped.csv" if unread or listing.left_out else ""))
    return 0


def _train(options: argparse.Namespace) -> int:
    import torch

    from v2a_utils.data.pairs import read_pairs
    from v2a_utils.mappers.own import how_sure, train_on_pairs
    from v2a_utils.mappers.recipes import PAIRS_WORTH_TRAINING, read_recipe, recipe_for

    pairs = read_pairs(options.store)
    number = len(pairs.train[0])
    print(*pairs.notes, sep="\n")
    if number < PAIRS_WORTH_TRAINING:
        print(f"{number} pairs to train on: on SoundWorld, with fewer than {PAIRS_WORTH_TRAINING}, the bridge over words, "
              "which needs none, comes nearer to the true sounds (try sound --mapper words)")
    stack = options.stack or pairs.settings.get("stack") or os.environ.get("V2A_STACK", "mini")
    recipe = recipe_for(stack, options.mapper, number)
    if options.config:
        recipe = read_recipe(options.config, recipe)
    out = options.out or Path("runs/mappers") / options.mapper
    _, numbers = train_on_pairs(pairs, recipe, out, "cuda" if torch.cuda.is_available() else "cpu")
    print(how_sure(numbers))
    print(f"{options.mapper} mapper in {out}: sound PICTURE --mapper {out}")
    return 0


def _bridge(options: argparse.Namespace) -> int:
    from v2a_utils.mappers.bridge import words_bridge
    from v2a_utils.mappers.folders import save_mapper
    from v2a_utils.models.stacks import load_stack

    bridge = words_bridge(load_stack(options.stack), options.words, options.sounds, "draw" if options.draw else "mean")
    save_mapper(bridge, options.out)
    print(f"a bridge over {len(bridge.sentences)} sentences and {len(bridge.sounds)} sounds in {options.out}")
    return 0


def _pretrain(options: argparse.Namespace) -> int:
    import torch

    from v2a_utils.pretraining.run import PARTS, Pretraining

    parts = tuple(options.only or PARTS)
    if unknown := set(parts) - set(PARTS):
        raise ValueError(f"unknown part {', '.join(sorted(unknown))}: the parts are {', '.join(PARTS)}")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    Pretraining(options.out, options.work, options.seed, device, options.shrink).run(parts)
    return 0


def _report(options: argparse.Namespace) -> int:
    from v2a_utils.pretraining.report import write_report

    print(write_report(options.out, options.count))
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from dataclasses import replace

    from v2a_utils.evaluation.methods import QUICK, Sizes
    from v2a_utils.evaluation.run import evaluate, folder_for
    from v2a_utils.models.stacks import load_stack

    sizes = QUICK if options.quick else Sizes()
    if options.n is not None:
        sizes = replace(sizes, pictures=options.n, ood=max(options.n // 2, 2), sweep=max(options.n // 2, 2))
    if options.seeds is not None:
        sizes = replace(sizes, seeds=options.seeds)
    if sizes.pictures < 4 or sizes.seeds < 1:
        raise ValueError(f"{sizes.pictures} pictures with {sizes.seeds} seeds: give 4 or more and 1 or more")
    stack = load_stack(options.stack)
    out = options.out or folder_for(stack, whole=sizes == Sizes() and not options.methods)
    table = evaluate(stack, options.methods, sizes, out)
    print(f"{len(table)} numbers in {out}")
    return 0


def _generate(options: argparse.Namespace) -> int:
    from v2a_utils.data.sources import open_source
    from v2a_utils.data.store import Store
    from v2a_utils.evaluation import sound_files
    from v2a_utils.models.stacks import load_stack
    from v2a_utils.pipeline import SoundOptions

    names = ("steps", "guidance", "candidates", "seed")
    settings = SoundOptions(**{name: getattr(options, name) for name in names})
    stack = load_stack(options.stack)
    if options.mapper == sound_files.REFERENCE:
        listing = open_source(options.store, options.clips, limit=options.limit)
        generator = stack.generator
        paths = sound_files.copy_references(listing, options.out, generator.sample_rate, generator.clip_seconds,
                                            options.format)
    else:
        run = sound_files.run_on_ray if options.engine == "ray" else sound_files.run_here
        paths = sound_files.generate(stack, Store(options.store), options.mapper, options.out, settings, options.seeds,
                                     options.format, run)
    print(f"{len(paths)} sounds in {options.out}")
    return 0


def _score(options: argparse.Namespace) -> int:
    from v2a_utils.evaluation.scoring import score
    from v2a_utils.models.stacks import load_stack

    if options.draws < 2:
        raise ValueError(f"{options.draws} draws: give 2 or more")
    table = score(load_stack(options.stack), options.sounds, options.reference, options.pictures, options.labels,
                  options.out, options.draws)
    print(table.to_string(index=False, float_format="%.4g"))
    print(f"in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
