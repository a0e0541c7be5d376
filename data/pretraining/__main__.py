"""The commands: `python -m v2a_pretraining run` trains the mini stack, `report` and `sight` measure it."""

import argparse
import sys
from pathlib import Path

import torch
from v2a_pretraining.report import write_report
from v2a_pretraining.run import PARTS, Pretraining
from v2a_pretraining.sight import table

from v2a_utils.stacks.places import MINI


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 done, 2 a bad argument, said in one sentence."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m v2a_pretraining", description="How the mini stack was trained.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="train the mini stack anew; goes on where it was stopped")
    run.add_argument("--out", type=Path, default=Path("results/mini"))
    run.add_argument("--work", type=Path, default=Path("results/pretraining"), help="rendered data and checkpoints")
    run.add_argument("--only", nargs="+", metavar="PART", choices=PARTS,
                     help=f"train these parts only: {', '.join(PARTS)}")
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--shrink", type=int, default=1, help="divide data and steps by this, for a trial")
    run.set_defaults(run=_run)
    report = commands.add_parser("report", help="measure the mini stack and write its REPORT.md")
    report.add_argument("--count", type=int, default=512, help="pictures (default: 512)")
    report.add_argument("--out", type=Path, default=Path("out/REPORT.md"))
    report.set_defaults(run=_report)
    sight = commands.add_parser("sight", help="measure how well the CLIP of a folder sees")
    sight.add_argument("--folder", type=Path, default=MINI)
    sight.add_argument("--test", type=int, default=2000, help="pictures of the split test (default: 2000)")
    sight.add_argument("--ood", type=int, default=1000, help="pictures of the split ood (default: 1000)")
    sight.set_defaults(run=_sight)
    return parser


def _sight(options: argparse.Namespace) -> int:
    print(table(options.folder, options.test, options.ood))
    return 0


def _run(options: argparse.Namespace) -> int:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pretraining = Pretraining(options.out, options.work, options.seed, device, options.shrink)
    pretraining.run(tuple(options.only or PARTS))
    return 0


def _report(options: argparse.Namespace) -> int:
    print(write_report(options.out, options.count))
    return 0


if __name__ == "__main__":
    sys.exit(main())
