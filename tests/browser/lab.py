"""JupyterLab as a person uses it: open a notebook, run it, look at a cell's output, press and type in a panel."""

import re

import nbformat
from conftest import ROOT

SCREENSHOTS = ROOT / "out" / "browser"
PATIENCE = 20 * 60 * 1000  # milliseconds for cells, on a machine that is busy with other things
CELL, PROMPT = ".jp-Notebook .jp-CodeCell", ".jp-InputPrompt.jp-InputArea-prompt"
ERROR = '.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]'


class Lab:
    """JupyterLab at an address, over a folder that gets copies of the notebooks."""

    def __init__(self, page, address: str, token: str, folder):
        self.page, self.address, self.token, self.folder = page, address, token, folder

    def open(self, stem: str, cells: list[str] | None = None, parameters: str = "", replaced: dict[str, str] = {}):
        """Open a copy of a notebook ("00"), of these cells only and with other parameters; wait until it is ready."""
        source = next((ROOT / "notebooks").glob(f"{stem}_*.ipynb"))
        notebook = nbformat.read(source, as_version=4)
        if cells:
            notebook.cells = [cell for cell in notebook.cells if cell.id in cells]
            assert [cell.id for cell in notebook.cells] == cells, "the notebook has lost a cell that its panel needs"
        parameter_cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
        parameter_cell.source += "\n" + parameters
        for old, new in replaced.items():
            assert any(old in cell.source for cell in notebook.cells), f"no cell has {old!r}"
            for cell in notebook.cells:
                cell.source = cell.source.replace(old, new)
        nbformat.write(notebook, self.folder / source.name)
        self.page.goto(f"{self.address}/lab/tree/{source.name}?token={self.token}&reset")
        code = sum(cell.cell_type == "code" for cell in notebook.cells)
        self.page.wait_for_function("([cells, count]) => document.querySelectorAll(cells).length == count",
                                    arg=[CELL, code], timeout=PATIENCE)
        self.idle()

    def menu(self, *names: str) -> None:
        """Choose an entry of the menu bar."""
        self.page.locator(".lm-MenuBar-item", has_text=re.compile(f"^{names[0]}$")).click()
        for name in names[1:]:
            self.page.locator(".lm-Menu-item", has_text=re.compile(f"^{name}$")).click()

    def run_all(self) -> None:
        """Run all cells from the menu and wait for the last; fails at a cell with an error."""
        self.menu("Run", "Run All Cells")
        self.page.wait_for_function(
            """([prompts, error]) => document.querySelector(error) ||
               [...document.querySelectorAll(prompts)].every(one => /^\\[\\d+\\]:$/.test(one.textContent.trim()))""",
            arg=[f"{CELL} {PROMPT}", ERROR], timeout=PATIENCE, polling=500)  # folded cells show no number
        self.idle()
        assert self.errors() == []

    def errors(self) -> list[str]:
        """Texts of all tracebacks in the notebook."""
        return self.page.locator(ERROR).all_inner_texts()

    def idle(self) -> None:
        """Wait until the kernel has nothing to do."""
        self.page.locator(".jp-StatusBar-TextItem", has_text=re.compile(r"\| Idle$")).wait_for(timeout=PATIENCE)

    def look(self, name: str, place=None) -> None:
        """A screenshot to be looked at, with `place` in view."""
        if place is not None:
            place.scroll_into_view_if_needed()
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")

    def theme(self, name: str) -> None:
        """Choose a theme, "Light" or "Dark", from the menu."""
        self.menu("Settings", "Theme", f"JupyterLab {name}")
        self.page.locator(f"body[data-jp-theme-name='JupyterLab {name}']").wait_for(state="attached")

    def widen(self, width: int) -> None:
        """Another width of the window; what is shown follows."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.wait_for_timeout(500)  # the layout settles

    def close(self) -> None:
        """End the kernels."""
        for kernel in self.page.request.get(f"{self.address}/api/kernels?token={self.token}").json():
            self.page.request.delete(f"{self.address}/api/kernels/{kernel['id']}?token={self.token}")


def play(audio) -> None:
    """Press play as a person does, and wait until the sound has been played to its end."""
    audio.scroll_into_view_if_needed()
    audio.click(position={"x": 25, "y": audio.bounding_box()["height"] / 2})
    audio.evaluate("audio => audio.ended || new Promise(done => audio.addEventListener('ended', done))")
    assert audio.evaluate("audio => audio.currentTime") > 0.5  # seconds
    assert audio.evaluate("audio => audio.error") is None


def cut_off(place) -> list[str]:
    """Controls and words inside `place` that stand out of the notebook's column, or whose words are cut."""
    return place.evaluate("""place => {
        const column = place.closest('.jp-OutputArea-child').getBoundingClientRect();
        const inside = place.querySelectorAll('button, select, input, label, audio, a, b');
        return [...inside].filter(one => one.offsetWidth).filter(one => {
            const box = one.getBoundingClientRect();
            return box.right > column.right + 1 || box.left < column.left - 1 ||
                   (one.matches('button, label') && one.scrollWidth > one.clientWidth + 1);
        }).map(one => one.textContent || one.value || one.tagName)}""")


def faint(place) -> list[str]:
    """Words inside `place` whose contrast with what lies behind them is less than 4.5, the least that WCAG asks for."""
    return place.evaluate("""place => {
        const parse = colour => (colour.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
        const luminance = ([r, g, b]) => [r, g, b].map(v => v / 255).map(
            v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce(
            (sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        const behind = one => {
            for (; one; one = one.parentElement) {
                const colour = parse(getComputedStyle(one).backgroundColor);
                if (colour.length < 4 || colour[3] > 0.9) return colour;
            }
            return [255, 255, 255];
        };
        const words = [...place.querySelectorAll('*:not(.headerlink)')].filter(one => one.offsetWidth &&
            (one.matches('input, select') || [...one.childNodes].some(node => node.nodeType == 3 && node.data.trim())));
        return words.filter(one => {
            const [a, b] = [luminance(parse(getComputedStyle(one).color)), luminance(behind(one))];
            return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5;
        }).map(one => one.textContent.trim() || one.value)}""")
