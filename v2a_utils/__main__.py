"""The commands: python -m v2a_utils sound | world | embed | train | bridge | pretrain | report | evaluate."""

import argparse
import csv
import os
import sys
import warnings
from dataclasses import asdict
from pathlib import Path

from tqdm.auto import tqdm

REPORT_NAME = "REPORT.md"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, or 2 when an input or an argument was bad."""
    warnings.filterwarnings("ignore", category=FutureWarning)  # of libraries about other libraries
    warnings.filterwarnings("ignore", message=".*torch.meshgrid.*")
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except (ValueError, FloatingPointError, FileExistsError, NotADirectoryError, PermissionError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m v2a_utils", description="Pictures into sound.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    sound = commands.add_parser("sound", help="make a sound for each picture, video or folder of them")
    sound.add_argument("inputs", nargs="+", metavar="PICTURE_OR_VIDEO")
    sound.add_argument("--out", type=Path, default=Path("out"), help="folder for the wav files (default: out)")
    sound.add_argument("--video", action="store_true", help="write videos with a sound of their length, as mp4")
    sound.add_argument("--mapper", default="diffusion", choices=("diffusion", "regression", "words", "none"))
    _add_words(sound)
    sound.add_argument("--steps", type=int, default=25, help="denoising steps (default: 25)")
    sound.add_argument("--guidance", type=float, default=2.0, help="guidance scale, 1 is none (default: 2)")
    sound.add_argument("--scheduler", default="dpm++", choices=("dpm++", "ddim", "ddpm", "euler", "unipc"),
                       help="of the denoising (default: dpm++, which needs the fewest steps)")
    sound.add_argument("--seconds", type=float, help="length (default: the stack's clip length)")
    sound.add_argument("--candidates", type=int, default=3, help="sounds to choose the best from (default: 3)")
    sound.add_argument("--seed", type=int, default=0)
    sound.add_argument("--stack", choices=("mini", "paper"), help="default: $V2A_STACK, or mini")
    sound.set_defaults(run=_sound)

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
    embed.add_argument("--seed", type=int, default=0, help="of SoundWorld and of random frames")
    embed.add_argument("--resume", action="store_true", help="go on with a store that an earlier run began")
    embed.add_argument("--engine", default="local", choices=("local", "ray"), help="this machine, or a Ray cluster")
    embed.set_defaults(run=_embed)
    train = commands.add_parser("train", help="train a mapper on a table of embedded pairs")
    train.add_argument("store", type=Path, metavar="STORE", help="Parquet table with splits train and val")
    train.add_argument("--mapper", required=True, choices=("regression", "diffusion", "flow"))
    train.add_argument("--stack", choices=("mini", "paper"), help="whose recipe (default: $V2A_STACK, or mini)")
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
    evaluate.add_argument("--out", type=Path, help="folder of the summary (default: data/results, with --quick or "
                          "--methods results/evaluation)")
    evaluate.add_argument("--quick", action="store_true", help="a few pictures and one step: does it run?")
    evaluate.set_defaults(run=_evaluate)
    return parser


def _add_words(command: argparse.ArgumentParser) -> None:
    """The options that say what a bridge over words is made of."""
    command.add_argument("--words", type=Path, metavar="FILE", help="sentences for the mapper words, one a line "
                         "(default: those of the stack)")
    command.add_argument("--sounds", metavar="FOLDER_OR_STORE", help="sounds for the mapper words, of nothing in "
                         "particular (default: those of the stack, if it has any)")


def _sound(options: argparse.Namespace) -> int:
    from v2a_utils.data.audio import save_audio
    from v2a_utils.data.media import MediaError, list_inputs, load_frames, put_sound
    from v2a_utils.pipeline import SoundOptions, picture_to_sound, video_to_sound
    from v2a_utils.models.stacks import load_stack

    names = ("mapper", "steps", "guidance", "seconds", "candidates", "seed", "scheduler")
    settings = SoundOptions(**{name: getattr(options, name) for name in names})
    inputs = list_inputs(options.inputs)
    if not inputs:
        raise ValueError(f"{', '.join(options.inputs)}: no picture or video in the folder")
    stack, failures, taken = load_stack(options.stack), 0, set()
    if options.words or options.sounds:
        _keep_bridge(stack, options)
    options.out.mkdir(parents=True, exist_ok=True)
    for path in tqdm(inputs, unit="sound", disable=len(inputs) == 1):
        target = options.out / f"{_free_name(path.stem, taken)}.{'mp4' if options.video else 'wav'}"
        try:
            if options.video:
                sound = video_to_sound(stack, path, settings)
                put_sound(path, target, sound.waveform, sound.sample_rate)
            else:
                sound = picture_to_sound(stack, load_frames(path), settings)
                save_audio(target, sound.waveform, sound.sample_rate)
        except MediaError as error:
            tqdm.write(f"error: {error}", file=sys.stderr)
            failures += 1
            continue
        _tell(path, target, sound, stack.name)
    return 2 if failures else 0


def _keep_bridge(stack, options: argparse.Namespace) -> None:
    """Make a bridge out of the options' sentences and sounds the stack's mapper words."""
    from v2a_utils.mappers.bridge import words_bridge

    if options.mapper != "words":
        raise ValueError("--words and --sounds are for the mapper words: add --mapper words")
    stack.kept["words"] = words_bridge(stack, options.words, options.sounds)


def _tell(source: Path, target: Path, sound, stack_name: str) -> None:
    heard = ", ".join(f"{name} {share:.0%}" for name, share in sound.heard)
    tqdm.write(f"{source} -> {target}   sounds like: {heard}")
    if sound.strange:
        tqdm.write(
            f"  {source.name} is unlike the pictures that the stack {stack_name} was trained on: do not trust its sound"
        )


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
    listing = open_source(options.source, options.clips, options.seed, options.limit)
    print(listing.summary())
    store = embed(listing, load_stack(options.stack), options.out, settings, options.resume, run)
    unread = f"; {len(store.skipped())} could not be embedded" if store.skipped() else ""
    print(f"{len(store)} clips in {options.out}{unread}" + (", see skipped.csv" if unread or listing.left_out else ""))
    return 0


def _train(options: argparse.Namespace) -> int:
    import torch

    from v2a_utils.mappers.recipes import read_recipe, recipe_for, train_from_store

    recipe = recipe_for(options.stack or os.environ.get("V2A_STACK", "mini"), options.mapper)
    if options.config:
        recipe = read_recipe(options.config, recipe)
    out = options.out or Path("runs/mappers") / options.mapper
    train_from_store(options.store, recipe, out, "cuda" if torch.cuda.is_available() else "cpu")
    print(f"{options.mapper} mapper in {out}")
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

    from v2a_utils.evaluation.methods import METHODS, QUICK, SUMMARY, Sizes, evaluate
    from v2a_utils.models.stacks import load_stack

    sizes = QUICK if options.quick else Sizes()
    if options.n is not None:
        sizes = replace(sizes, pictures=options.n, ood=max(options.n // 2, 2), sweep=max(options.n // 2, 2))
    if options.seeds is not None:
        sizes = replace(sizes, seeds=options.seeds)
    if sizes.pictures < 4 or sizes.seeds < 1:
        raise ValueError(f"{sizes.pictures} pictures with {sizes.seeds} seeds: give 4 or more and 1 or more")
    part = options.quick or options.methods  # shall not take the place of the whole
    out = options.out or (Path("results/evaluation") if part else SUMMARY)
    table = evaluate(load_stack(options.stack), options.methods or list(METHODS), sizes, out)
    print(f"{len(table)} numbers in {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
