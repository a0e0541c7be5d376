"""Notebook 00 as a newcomer meets it: open it, run all, use its panel."""

from conftest import PHOTOS

from browser.lab import play
from browser.test_upload_panel import Panel


def test_notebook_00_runs_from_the_menu_and_its_panel_answers(lab):
    lab.open("00")  # with all its scenes, on which its findings depend
    lab.look("00-opened")
    lab.run_all()
    panel = Panel(lab)
    panel.set("picture", panel.place.get_by_label("picture").locator("option").nth(2).inner_text())
    panel.set("steps", 4)
    panel.set("guidance", 6)
    panel.press()
    play(panel.cards.first.locator("audio"))
    samples, rate, name = panel.saved()
    assert len(samples) > rate and "guidance6" in name
    if PHOTOS:
        panel.give(PHOTOS[0])
        panel.press()
        assert panel.cards.count() == 2
    panel.lab.look("00-panel", panel.button)
    assert lab.errors() == []
