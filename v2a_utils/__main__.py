"""The commands: python -m v2a_utils COMMAND, as EXAMPLES lists them."""

import argparse
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

from v2a_utils import commands

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
    "reproduce": "reproduce data/reproduction_mini.toml",
    "generate": "generate store --mapper diffusion --out sounds",
    "score": "score sounds --reference true_sounds --pictures pictures --labels labels.csv",
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
        print(f"error: {_in_one_line(error)}; {_written_traceback()}", file=sys.stderr)
        return 1


def _in_one_line(error: Exception) -> str:
    """An error's type and the first line of what it says."""
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"


def _written_traceback() -> str:
    """Where the traceback of the error that is being handled lies from now on: a new file in the temporary folder."""
    try:
        with tempfile.NamedTemporaryFile("w", prefix="v2a-error-", suffix=".txt", delete=False) as file:
            file.write(traceback.format_exc())
    except OSError as error:  # a full disk may be what went wrong in the first place
        return f"its traceback could not be written ({error})"
    return f"the traceback is in {file.name}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m v2a_utils", description="Pictures into sound.")
    known = parser.add_subparsers(required=True, metavar="COMMAND")

    sound = known.add_parser("sound", help="make a sound for each picture, video or folder of them")
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
    sound.set_defaults(run=commands.sound)

    fetch = known.add_parser("fetch", help="get the public models and lists that the stack paper needs")
    fetch.add_argument("--for", dest="purpose", default="sound",
                       choices=("sound", "training", "evaluation", "benchmark"), help="what they shall be there for; "
                       "benchmark: the audio backbones of av-benchmark (default: sound)")
    fetch.add_argument("--yes", action="store_true", help="agree to sizes and licences beforehand, as scripts must")
    fetch.add_argument("--list", action="store_true", help="only print what there is and what of it lies here")
    fetch.add_argument("--from", dest="carried", type=Path, metavar="FOLDER",
                       help="take the files from here, without a network")
    fetch.set_defaults(run=commands.fetch)

    world = known.add_parser("world", help="write pictures, sounds and labels of SoundWorld")
    world.add_argument("--out", type=Path, required=True)
    world.add_argument("--format", default="pairs", choices=("pairs", "vggsound", "imagehear"), help="pictures and "
                       "sounds of one name; films and a list as VGGSound's; pictures named as ImageHear's")
    world.add_argument("--split", choices=("train", "val", "test", "ood"), help="of pairs (default: test); films are of "
                       "train and, every fifth, of test, ImageHear's pictures of ood")
    world.add_argument("--count", type=int, default=20, help="pairs, films or pictures (default: 20)")
    world.add_argument("--seed", type=int, default=0)
    world.set_defaults(run=commands.world)

    embed = known.add_parser("embed", help="CLIP and CLAP embeddings of a data set, as a table in Parquet")
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
    embed.set_defaults(run=commands.embed)
    train = known.add_parser("train", help="train a mapper on a table of embedded pairs")
    train.add_argument("store", metavar="STORE", help="what embed wrote, or a Parquet table with its columns")
    train.add_argument("--mapper", required=True, choices=("regression", "diffusion", "flow"))
    train.add_argument("--stack", choices=("mini", "paper"), help="whose recipe (default: the store's)")
    train.add_argument("--config", type=Path, help="JSON file with what the recipe shall have otherwise")
    train.add_argument("--out", type=Path, help="folder for weights and checkpoint (default: runs/mappers/MAPPER)")
    train.set_defaults(run=commands.train)

    bridge = known.add_parser("bridge", help="make a mapper out of sentences and sounds, without a single pair")
    _add_words(bridge)
    bridge.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for the mapper, which "
                        "`sound --mapper FOLDER` uses")
    bridge.add_argument("--draw", action="store_true", help="draw one sound at random, not the mean of all that "
                        "fit")
    bridge.add_argument("--stack", choices=("mini", "paper"), help="default: $V2A_STACK, or mini")
    bridge.set_defaults(run=commands.bridge)

    pretrain = known.add_parser("pretrain", help="train the mini stack anew (hours on two cores)")
    pretrain.add_argument("--out", type=Path, default=Path("data/mini"))
    pretrain.add_argument("--work", type=Path, default=Path("runs/pretrain"), help="rendered data and checkpoints")
    pretrain.add_argument("--only", nargs="+", metavar="PART", help="train these parts only")
    pretrain.add_argument("--seed", type=int, default=0)
    pretrain.add_argument("--shrink", type=int, default=1, help="divide data and steps by this, for a trial")
    pretrain.set_defaults(run=commands.pretrain)

    report = known.add_parser("report", help="measure the mini stack and write its REPORT.md")
    report.add_argument("--count", type=int, default=512, help="pictures (default: 512)")
    report.add_argument("--out", type=Path, default=Path("data/mini") / REPORT_NAME)
    report.set_defaults(run=commands.report)

    evaluate = known.add_parser("evaluate", help="every method's sounds through every measure, as tables")
    evaluate.add_argument("--data", metavar="STORE_OR_CONFIG", help="not of SoundWorld, but of a STORE or SOURCE of "
                          "`embed` whose clips have sounds, or of a configuration of `reproduce`")
    evaluate.add_argument("--clips", type=Path, help="folder of VGGSound's videos, for --data")
    evaluate.add_argument("--methods", nargs="+", metavar="METHOD", help="only these (default: all, sweeps included); "
                          "with --data also folders of trained mappers")
    evaluate.add_argument("--n", type=int, help="pictures of the test split; of others half as many (default: 256; of "
                          "--data all)")
    evaluate.add_argument("--seeds", type=int, help="sounds of each picture and method (default: 3; of --data 1)")
    evaluate.add_argument("--stack", choices=("mini", "paper"), help="default: $V2A_STACK, or mini")
    evaluate.add_argument("--out", type=Path, help="folder of the summary (default: data/results for the whole "
                          "evaluation of the stack whose summary it holds, else results/evaluation/STACK)")
    evaluate.add_argument("--quick", action="store_true", help="a few pictures and one step: does it run?")
    evaluate.set_defaults(run=commands.evaluate)

    reproduce = known.add_parser("reproduce", help="the paper's tables on its data: from lists of clips to a summary")
    reproduce.add_argument("config", metavar="CONFIG", help="TOML or JSON file of settings; two lie in data/")
    reproduce.add_argument("--out", help="folder of the summary (default: what CONFIG says, else its work folder)")
    reproduce.add_argument("--engine", choices=("local", "ray"), help="this machine, or a Ray cluster")
    reproduce.set_defaults(run=commands.reproduce)

    generate = known.add_parser("generate", help="a sound file for every row of a table of embeddings")
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
    generate.set_defaults(run=commands.generate)

    score = known.add_parser("score", help="any folder of sounds against reference sounds: FD, FAD, KL, IS, CS, ...")
    score.add_argument("sounds", type=Path, metavar="SOUNDS", help="folder of sound files, or of one folder a seed")
    score.add_argument("--reference", type=Path, required=True, metavar="SOUNDS", help="folder of the true sounds")
    score.add_argument("--pictures", type=Path, metavar="FOLDER_OR_STORE", help="of the pictures, or what `embed` wrote "
                       "of them: for CS")
    score.add_argument("--labels", type=Path, metavar="CSV", help="columns id and label: for accuracy")
    score.add_argument("--listeners", nargs="+", default=(), choices=("mini", "paper", "cnn14-32k", "passt"),
                       help="who hears the sounds: paper is CNN14 at 16 kHz, VGGish and Wav2CLIP; passt needs the extra "
                       "passt (default: the stack's own)")
    score.add_argument("--stack", choices=("mini", "paper"), help="default: that of --listeners, $V2A_STACK, or mini")
    score.add_argument("--seconds", type=float, help="cut all sounds to this length (default: each is heard whole)")
    score.add_argument("--out", type=Path, default=Path("results/scores"), help="folder for scores.csv and scores.json "
                       "(default: results/scores)")
    score.add_argument("--draws", type=int, default=200, help="of the bootstrap (default: 200)")
    score.set_defaults(run=commands.score)
    for name, command in known.choices.items():
        command.epilog = f"Example: python -m v2a_utils {EXAMPLES[name]}"
    return parser


def _add_words(command: argparse.ArgumentParser) -> None:
    """The options that say what a bridge over words is made of."""
    command.add_argument("--words", type=Path, metavar="FILE", help="sentences for the mapper words, one a line "
                         "(default: those of the stack)")
    command.add_argument("--sounds", metavar="FOLDER_OR_STORE", help="sounds for the mapper words, of nothing in "
                         "particular (default: those of the stack, if it has any)")


if __name__ == "__main__":
    sys.exit(main())
