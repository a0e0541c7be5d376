"""A blind listening test of two methods, for one listener and one notebook: the paper's subjective test, in small."""

import html
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import ipywidgets
import numpy as np
import pandas as pd
from IPython.display import display
from PIL import Image

from v2a_utils.data.files import key
from v2a_utils.metrics.sounds import Interval, rate_interval
from v2a_utils.widgets import cards

ANSWERS = ("A", "B", "no difference")
LEAST = 1.0  # seconds: nobody has heard a pair earlier, so an earlier press is the second of a double click


class Pair(NamedTuple):
    """A picture with two sounds (samples,) for it."""

    picture: Image.Image
    a: np.ndarray
    b: np.ndarray


@dataclass
class BlindTest:
    """Pairs of sounds for pictures, in random order and on random sides; which is which shows in the result only.

    `sounds` has two methods' names with sounds (n, samples) each. Answers are kept in a CSV at `path`, where a test of
    the same sounds, pictures and seed goes on.
    """

    pictures: list[Image.Image]
    sounds: dict[str, np.ndarray]
    sample_rate: int
    path: Path
    seed: int = 0

    def __post_init__(self):
        if len(self.sounds) != 2 or any(len(made) != len(self.pictures) for made in self.sounds.values()):
            raise ValueError("a blind test needs two methods with a sound for each picture")
        rng = np.random.default_rng(self.seed)
        self.order = rng.permutation(len(self.pictures))
        # each method is A in one half of the pairs, so that a preference for one side favours neither
        self.first_is_a = rng.permutation(np.arange(len(self.pictures)) % 2 == 0)
        self.answers: list[str] = []
        self.key = key(seed=self.seed, sounds={name: np.asarray(made) for name, made in self.sounds.items()},
                       pictures=[np.asarray(picture) for picture in self.pictures])[:16]
        if self.path.is_file():
            known = pd.read_csv(self.path, dtype=str)
            self.answers = list(known.answer[known.test == self.key])

    @property
    def finished(self) -> bool:
        """Every pair has an answer."""
        return len(self.answers) >= len(self.pictures)

    def pair(self) -> Pair:
        """The next picture with its sounds."""
        trial = len(self.answers)
        first, second = (made[self.order[trial]] for made in self.sounds.values())
        return Pair(self.pictures[self.order[trial]], *((first, second) if self.first_is_a[trial] else (second, first)))

    def answer(self, choice: str) -> None:
        """Record an answer, one of ANSWERS, to the next pair. ValueError for any other, or when all are answered."""
        if choice not in ANSWERS or self.finished:
            raise ValueError(f"{choice!r} is no answer: give one of {', '.join(ANSWERS)}, while there are pairs")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        row = pd.DataFrame({"test": [self.key], "trial": len(self.answers), "answer": choice})
        row.to_csv(self.path, mode="a", header=not self.path.is_file(), index=False)
        self.answers.append(choice)

    def result(self) -> Interval | None:
        """Share of decided answers that favour the second method, with its exact 95% interval; None without one."""
        second = [(choice == "B") == first_is_a for choice, first_is_a in zip(self.answers, self.first_is_a)
                  if choice != "no difference"]
        return rate_interval(np.array(second), "exact") if second else None

    def verdict(self) -> str:
        """The result in a sentence."""
        first, second = self.sounds
        share, ties = self.result(), self.answers.count("no difference")
        if share is None:
            return f"No decided answer yet ({ties} without a difference)."
        sure = "neither, as far as so few answers can tell"
        if share.low > 0.5 or share.high < 0.5:
            sure = second if share.low > 0.5 else first
        return (f"{second} preferred to {first} in {share.percent()}, exact interval; {ties} without a difference. "
                f"Better: {sure}.")

    def panel(self) -> None:
        """Display the test: a picture, two players, three buttons; at the end the verdict."""
        # not an Output: nbclient replies to one on the socket on which it awaits the cell's end, and may then wait for
        # ever (github.com/jupyter/nbclient/issues/312); it did in one of ten executions of notebook 05
        place = ipywidgets.HTML()
        buttons = [ipywidgets.Button(description=choice) for choice in ANSWERS]
        shown_at = 0.0

        def show() -> None:
            nonlocal shown_at
            shown_at = time.monotonic()
            if self.finished:
                place.value = html.escape(self.verdict())
                for button in buttons:
                    button.disabled = True
                return
            pair = self.pair()
            place.value = (f"Pair {len(self.answers) + 1} of {len(self.pictures)}: which sound belongs to the picture?"
                           + cards([pair.picture] * 2, [pair.a, pair.b], self.sample_rate, ["A", "B"]).data)

        def clicked(button: ipywidgets.Button) -> None:
            if not self.finished and time.monotonic() - shown_at >= LEAST:
                self.answer(button.description)
                show()

        for button in buttons:
            button.on_click(clicked)
        show()
        display(ipywidgets.VBox([place, ipywidgets.HBox(buttons)]))
