"""The report of the mini stack: every table, from a few sounds."""

import re

import pytest
from v2a_pretraining import report

from v2a_utils.pipeline import SoundOptions


@pytest.mark.filterwarnings("ignore")  # so few sounds are too few for a covariance, and for ranks within classes
def test_the_report_has_every_stage_and_class(tmp_path, monkeypatch, stack, hasty_vocoder):
    monkeypatch.setattr(report, "KEPT", tmp_path)
    monkeypatch.setenv("V2A_CACHE", str(tmp_path))
    monkeypatch.setattr(report, "load_stack", lambda name: stack)
    monkeypatch.setattr(report, "SPREAD_PAIRS", 60)
    for timed in ("_seconds_a_sound", "_seconds_cold"):  # they only wait for sounds that others test
        monkeypatch.setattr(report, timed, lambda test: 0.0)
    text = report.write_report(tmp_path / "REPORT.md", 8, SoundOptions(candidates=1, steps=1))
    assert (tmp_path / "REPORT.md").read_text() == text
    parts = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE))
    assert set(parts) == {"Where sounds are lost", "Per class", "Pitch", "The mapper's spread"}
    spread = re.findall(r"^\| ([\d.]+) \| ([\d.]+) \[", parts["The mapper's spread"], re.MULTILINE)
    assert [float(temperature) for temperature, _ in spread] == list(report.TEMPERATURES)
    assert float(spread[0][1]) < float(spread[-1][1])  # louder noise, wider samples
    stages = dict(re.findall(r"^\| (.+?) \| ([\d.]+) \|$", parts["Where sounds are lost"], re.MULTILINE))
    assert len(stages) == 7
    take, unet = (float(stages[name]) for name in ("another true take of the same scenes",
                                                   "true CLAP embedding through the UNet"))
    assert 0 < take < unet
    assert parts["Pitch"].count("| mean |") == 3
