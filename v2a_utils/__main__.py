"""The commands: python -m v2a_utils COMMAND, as COMMANDS lists them."""

import argparse
import os
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

from v2a_utils import commands
from v2a_utils.data.files import failure
from v2a_utils.options import RANGES, check, program

# options that name something to read, checked before any library is loaded
READ = ("carried", "clips", "config", "data", "reference", "pictures", "labels", "words", "sounds", "ids")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status.

    0: done. 2: an input or an argument was bad, said in one sentence; with several inputs the others are done. 1: an
    error of an unexpected kind, whose traceback was written to a file that the message names. 130: interrupted from the
    keyboard. 141: nobody reads the output any more, as below `| head`.
    """
    warnings.filterwarnings("ignore", category=FutureWarning)  # of libraries about other libraries
    warnings.filterwarnings("ignore", message=".*torch.meshgrid.*")
    warnings.filterwarnings("ignore", message="a Fréchet distance of")  # the commands say it in sentences of their own
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file's name may hold what the terminal cannot show
    options = _parser().parse_args(arguments)
    try:
        _check(options)
        status = options.run(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor can Python's own last flush fail
        return 141
    except (ValueError, FloatingPointError, OSError) as error:
        print(f"error: {failure(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        said = (str(error).strip() or "no message").splitlines()[0]
        print(f"error: {type(error).__name__}: {said}; {_written_traceback()}", file=sys.stderr)
        return 1


def _check(options: argparse.Namespace) -> None:
    """ValueError for a number outside its range; FileNotFoundError for a file or folder to read that is not there."""
    for name, value in vars(options).items():
        if name in RANGES:
            for number in value if isinstance(value, list) else [value]:
                check(name, number, options.command)
        if name in READ and value:
            for place in value if isinstance(value, list) else [value]:
                if not str(place).startswith("soundworld:") and "://" not in str(place) and not Path(place).exists():
                    raise FileNotFoundError(2, "no such file or folder", str(place))


def _place(text: str) -> str:
    """A path or URL as typed, but `~` is the home folder also where the shell leaves it: --out=~/sounds."""
    return text if os.path.lexists(text) else os.path.expanduser(text)  # noqa: PTH111 (Path's raises)


def _path(text: str) -> Path:
    return Path(_place(text))


def _written_traceback() -> str:
    """Write the traceback of the current error to a new file in the temporary folder, and say where that is."""
    try:
        with tempfile.NamedTemporaryFile("w", prefix="v2a-error-", suffix=".txt", delete=False) as file:
            file.write(traceback.format_exc())
    except OSError as error:  # a full disk may be what went wrong in the first place
        return f"its traceback could not be written ({error})"
    return f"the traceback is in {file.name}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program(), description="Pictures into sound.")
    known = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (add_options, example) in COMMANDS.items():
        command = known.add_parser(name, help=add_options.__doc__.removesuffix("."),
                                   epilog=f"Example: {program()} {example}")
        add_options(command)
        command.set_defaults(run=getattr(commands, name), command=name)
    return parser


SHARED = {  # options that several commands have
    "--stack": {"choices": ("mini", "paper"), "help": "default: $V2A_STACK, or mini"},
    "--device": {"help": "cpu, cuda, cuda:1, mps (default: the GPU if there is one)"},
    "--engine": {"default": "local", "choices": ("local", "ray"), "help": "this machine, or a Ray cluster"},
    "--overwrite": {"action": "store_true", "help": "replace what is in --out already"},
    "--steps": {"type": int, "default": 25, "help": "denoising steps (default: 25)"},
    "--guidance": {"type": float, "default": 2.0, "help": "guidance scale, 1 is none (default: 2)"},
    "--exclude": {"metavar": "WORDS", "help": "what shall not be heard, such as speech"},
    "--words": {"type": _path, "metavar": "FILE", "help": "sentences for the mapper words, one a line "
                "(default: those of the stack)"},
    "--sounds": {"type": _place, "metavar": "FOLDER_OR_STORE", "help": "sounds of any kind for the mapper words "
                 "(default: those of the stack, if it has any)"},
}


def _share(command: argparse.ArgumentParser, *names: str) -> None:
    for name in names:
        command.add_argument(name, **SHARED[name])


def _sound(command: argparse.ArgumentParser) -> None:
    """Make a sound for each picture, video or folder of them."""
    add = command.add_argument
    add("inputs", nargs="+", type=_path, metavar="PICTURE_OR_VIDEO")
    add("--out", type=_path, default=Path("out"), help="folder for the wav files (default: out)")
    add("--video", action="store_true", help="write videos with a sound of their length, as mp4")
    add("--sync", action="store_true", help="with --video: let it sound when something happens in the pictures")
    add("--mapper", type=_place, metavar="KIND_OR_FOLDER", help="diffusion, regression, flow, words (no training), "
        "none, or the folder of a trained one (default: diffusion where one is trained, else words)")
    add("--vision", default="auto", choices=("auto", "clip", "photo"), help="who looks at the picture: "
        "CLIP, or a classifier of photographs (default: CLIP, but for photographs on a stack of drawings)")
    add("--scheduler", default="dpm++", choices=("dpm++", "ddim", "ddpm", "euler", "unipc"),
        help="of the denoising (default: dpm++, which needs the fewest steps)")
    add("--seconds", type=float, help="length (default: the stack's clip length)")
    add("--candidates", type=int, default=3, help="sounds to choose the best from (default: 3)")
    add("--seed", type=int, default=0)
    _share(command, "--words", "--sounds", "--steps", "--guidance", "--exclude", "--overwrite", "--stack", "--device")


def _fetch(command: argparse.ArgumentParser) -> None:
    """Get the public models and lists that the stack paper needs."""
    add = command.add_argument
    add("--for", dest="purpose", default="sound", choices=("sound", "training", "evaluation", "benchmark"),
        help="what they are needed for; benchmark: the audio backbones of av-benchmark (default: sound)")
    add("--yes", action="store_true", help="agree to sizes and licences beforehand, as scripts must")
    add("--list", action="store_true", help="only print what there is, and what of it is here")
    add("--from", dest="carried", type=_path, metavar="FOLDER", help="take the files from here, without a network")


def _world(command: argparse.ArgumentParser) -> None:
    """Write pictures, sounds and labels of SoundWorld."""
    add = command.add_argument
    add("--out", type=_path, required=True)
    add("--format", default="pairs", choices=tuple(commands.WORLD), help="pictures and "
        "sounds of one name; films and a list as VGGSound's; pictures named as ImageHear's")
    add("--split", choices=("train", "val", "test", "ood"), help="of pairs (default: test); films are of "
        "train and, every fifth, of test, ImageHear's pictures of ood")
    add("--count", type=int, default=20, help="pairs, films or pictures (default: 20)")
    add("--seed", type=int, default=0)
    _share(command, "--overwrite")


def _embed(command: argparse.ArgumentParser) -> None:
    """CLIP and CLAP embeddings of a data set, as a table in Parquet."""
    add = command.add_argument
    add("source", type=_place, metavar="SOURCE", help="soundworld:SPLIT, a folder of pairs or of ImageHear, or "
        "VGGSound's .csv file with --clips")
    add("--clips", type=_path, help="folder of VGGSound's videos")
    add("--out", type=_place, required=True, metavar="STORE", help="folder, or URL of an object store")
    add("--aggregate", default="mean", choices=("mean", "middle", "random", "first", "none"),
        help="what becomes of a video's frames; none keeps them all (default: mean)")
    add("--frame-rate", type=float, default=1.0, help="frames of a video per second (default: 1)")
    add("--limit", type=int, help="at most so many clips (default: all, of SoundWorld 1000)")
    add("--splits", type=float, nargs=3, metavar=("TRAIN", "VAL", "TEST"), help="shares of a data set "
        "that has no splits, drawn by a hash of each clip's id (default: 80 10 10)")
    add("--seed", type=int, default=0, help="of SoundWorld and of random frames")
    add("--resume", action="store_true", help="go on with a store that an earlier run began")
    _share(command, "--stack", "--device", "--engine")


def _train(command: argparse.ArgumentParser) -> None:
    """Train a mapper on a table of embedded pairs."""
    add = command.add_argument
    add("store", type=_place, metavar="STORE", help="what embed wrote, or a Parquet table with its columns")
    add("--mapper", required=True, choices=("regression", "diffusion", "flow"))
    add("--stack", choices=("mini", "paper"), help="whose recipe (default: the store's)")
    add("--config", type=_path, help="JSON file of changes to the recipe")
    add("--out", type=_path, help="folder for weights and checkpoint (default: results/mappers/MAPPER)")
    _share(command, "--overwrite", "--device")


def _bridge(command: argparse.ArgumentParser) -> None:
    """Make a mapper from sentences and sounds, without a single pair."""
    add = command.add_argument
    add("--out", type=_path, required=True, metavar="FOLDER", help="for the mapper: `sound --mapper FOLDER`")
    add("--draw", action="store_true", help="draw one sound at random, not the mean of all that fit")
    _share(command, "--words", "--sounds", "--overwrite", "--stack", "--device")


def _evaluate(command: argparse.ArgumentParser) -> None:
    """Every method's sounds through every measure, as tables."""
    add = command.add_argument
    add("--data", type=_place, metavar="STORE_OR_CONFIG", help="instead of SoundWorld, a STORE or SOURCE of "
        "`embed` whose clips have sounds, or a configuration of `reproduce`")
    add("--clips", type=_path, help="folder of VGGSound's videos, for --data")
    add("--methods", nargs="+", metavar="METHOD", help="only these (default: all, sweeps included); "
        "with --data also folders of trained mappers")
    add("--n", type=int, help="pictures of the test split, half as many of the others (default: 256; of --data all)")
    add("--seeds", type=int, help="sounds of each picture and method (default: 3; with --data 1)")
    add("--out", type=_path, help="folder of the summary (default: results/evaluation/STACK, or the data's name)")
    add("--quick", action="store_true", help="a few pictures and one step: does it run?")
    _share(command, "--stack", "--overwrite", "--device")


def _reproduce(command: argparse.ArgumentParser) -> None:
    """The paper's tables on its data: from lists of clips to a summary."""
    add = command.add_argument
    add("config", type=_place, metavar="CONFIG", help="TOML or JSON file of settings; two lie in data/")
    add("--out", type=_place, help="folder of the summary (default: what CONFIG says, else its work folder)")
    add("--engine", choices=("local", "ray"), help="this machine, or a Ray cluster")
    _share(command, "--overwrite", "--device")


def _generate(command: argparse.ArgumentParser) -> None:
    """A sound file for every row of a table of embeddings."""
    add = command.add_argument
    add("store", type=_place, metavar="STORE", help="what `embed` wrote; with --mapper reference a SOURCE of it")
    add("--mapper", type=_place, required=True, metavar="KIND_OR_FOLDER", help="diffusion, regression, flow, words, "
        "none, the folder of a trained one, true (CLAP's embedding of each true sound), or reference "
        "(the true sounds themselves)")
    add("--out", type=_path, required=True, help="folder for the sounds, named by the clips' ids")
    add("--clips", type=_path, help="folder of VGGSound's videos, for --mapper reference")
    add("--candidates", type=int, default=1, help="sounds to choose the best from (default: 1)")
    add("--seeds", type=int, default=1, help="sounds of each row, each seed in a folder of its own")
    add("--seed", type=int, default=0, help="the first seed (default: 0)")
    add("--limit", type=int, help="at most so many clips, a random sample")
    add("--format", default="flac", choices=("flac", "wav"))
    _share(command, "--steps", "--guidance", "--exclude", "--stack", "--engine", "--device")


def _score(command: argparse.ArgumentParser) -> None:
    """Any folder of sounds against reference sounds: FD, FAD, KL, IS, CS and more."""
    add = command.add_argument
    add("sounds", type=_path, metavar="SOUNDS", help="folder of sound files, or of one folder a seed")
    add("--reference", type=_path, required=True, metavar="SOUNDS", help="folder of the true sounds")
    add("--pictures", type=_path, metavar="FOLDER_OR_STORE", help="pictures, or what `embed` wrote of them: for CS")
    add("--labels", type=_path, metavar="CSV", help="columns id and label: for accuracy")
    add("--listeners", nargs="+", default=(), metavar="NAME",
        help="who hears the sounds: paper is CNN14 at 16 kHz, VGGish and Wav2CLIP; passt needs the extra "
        "passt (default: the stack's own)")
    add("--stack", choices=("mini", "paper"), help="default: that of --listeners, $V2A_STACK, or mini")
    add("--seconds", type=float, help="cut all sounds to this length (default: each is heard whole)")
    add("--out", type=_path, default=Path("results/scores"), help="folder for the tables (default: results/scores)")
    add("--ids", type=_path, metavar="FILE", help="measure exactly the clips of this list, one id a line")
    add("--clips", dest="per_clip", type=_path, metavar="FILE", help="write every sound's measures and top classes "
        "here, as .csv or .parquet, to sort and to listen")
    _share(command, "--overwrite", "--device")


COMMANDS = {  # the options of each, and the example below them in `--help`; a test parses each example
    "sound": (_sound, "sound cat.png clip.mp4 --out sounds --mapper regression --seed 7"),
    "fetch": (_fetch, "fetch --for sound --yes"),
    "world": (_world, "world --out world --split test --count 20"),
    "embed": (_embed, "embed my_clips --out store"),
    "train": (_train, "train store --mapper diffusion --out my_mapper"),
    "bridge": (_bridge, "bridge --words sentences.txt --sounds recordings --out my_bridge"),
    "evaluate": (_evaluate, "evaluate --quick"),
    "reproduce": (_reproduce, "reproduce data/reproduction_mini.toml"),
    "generate": (_generate, "generate store --mapper diffusion --out sounds"),
    "score": (_score, "score sounds --reference true_sounds --pictures pictures --labels labels.csv"),
}


if __name__ == "__main__":
    sys.exit(main())
