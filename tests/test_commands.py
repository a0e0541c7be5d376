"""What holds for every command: help with an example, and errors of unexpected kinds in one line."""

import re
import shlex
from pathlib import Path

import pytest

from v2a_utils import __main__ as entry
from v2a_utils import commands


def subcommands() -> dict:
    """Every command's parser by its name."""
    parser = entry._parser()
    return parser._subparsers._group_actions[0].choices


@pytest.mark.parametrize("name", subcommands())
def test_help_of_every_command_ends_with_an_example_that_can_be_run(name):
    text = subcommands()[name].format_help()
    example = " ".join(text[text.index("Example: ") :].split()).removeprefix("Example: ")
    assert entry._parser().parse_args(shlex.split(example)[3:]).run is subcommands()[name].get_default("run")


def test_an_unexpected_error_is_one_line_and_its_traceback_lies_in_a_file(monkeypatch, capsys):
    def broken(options):
        raise KeyError("a key\nthat nobody\nexpected")

    monkeypatch.setattr(commands, "world", broken)
    assert entry.main(["world", "--out", "anywhere"]) == 1
    message = capsys.readouterr().err.strip()
    assert "\n" not in message and "KeyError" in message
    written = Path(re.search(r"the traceback is in (\S+)", message)[1])
    assert "in broken" in written.read_text()
    written.unlink()


def test_an_unexpected_error_is_one_line_also_where_no_file_can_be_written(monkeypatch, capsys):
    def broken(options):
        raise KeyError("a key that nobody expected")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(commands, "world", broken)
    monkeypatch.setattr(entry.tempfile, "NamedTemporaryFile", full)
    assert entry.main(["world", "--out", "anywhere"]) == 1
    message = capsys.readouterr().err.strip()
    assert "\n" not in message and "No space left" in message and "could not be written" in message


def test_an_interrupted_command_says_so_and_shows_no_traceback(monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "world", interrupted)
    assert entry.main(["world", "--out", "anywhere"]) == 130
    assert capsys.readouterr().err.strip() == "interrupted"
