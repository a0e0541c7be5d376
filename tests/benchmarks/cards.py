"""A card for each measure, from the audit's tables: `python -m benchmarks.cards FOLDER` writes FOLDER/audit.md.

What a measure notices and from which dose on, what it is blind to, what it rewards, how often it cries wolf, how it
hangs on the number of sounds, which tricks lift it above true sounds, and which predictions (`predictions.csv`, older
than the audit) failed.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.audit import ALARM, BETTER, CLEAN, OTHERS, POWER, SEEN
from benchmarks.defects import DEFECTS
from v2a_utils.data.files import write_file
from v2a_utils.evaluation.figures import noticed

PREDICTIONS = Path(__file__).with_name("predictions.csv")
WORDS = {True: "notices", False: "blind"}


def outcome(place: int) -> str:
    """What came of the largest dose, in the predictions' words."""
    return "rewards" if place < 0 else WORDS[place > 0]


def against_predictions(found: pd.DataFrame) -> pd.DataFrame:
    """A row for each prediction that failed: defect, measure, what was predicted and what was found."""
    predicted = pd.read_csv(PREDICTIONS, index_col="defect")
    rows = [{"defect": defect, "measure": measure, "predicted": predicted.loc[defect, measure], "found": outcome(place)}
            for (defect, measure), place in found.stack().items()]
    table = pd.DataFrame(rows)
    return table[table.predicted != table.found]


def monotone(audit: pd.DataFrame, defect: str, measure: str, n: int) -> bool:
    """Whether a measure gets worse with every dose of a defect, as far as its subsets can tell."""
    rows = audit[(audit.defect == defect) & (audit.measure == measure) & (audit.n == n)]
    worse = rows["mean"].to_numpy() * (-1 if BETTER[measure] else 1)
    slack = rows.sd.to_numpy()[1:] / np.sqrt(rows.subsets.to_numpy()[1:])
    return bool((np.diff(worse) > -2 * slack).all())


def card(audit: pd.DataFrame, tricks: pd.DataFrame, measure: str) -> str:
    """One measure in a few lines of Markdown."""
    small, large = (noticed(audit, n)[measure] for n in SEEN)
    whole = audit[(audit.measure == measure) & (audit.defect == CLEAN)].set_index("n")["mean"]
    alarms = audit[(audit.measure == measure) & (audit.n == SEEN[1])].set_index("defect")

    def sees(name: str) -> str:
        first, few = large[name], small[name]
        unit = DEFECTS[name][1]
        text = f"{name} from {DEFECTS[name][0][first - 1]:g}{'' if unit[0] == '%' else ' '}{unit}"
        if few != first:
            text += f" ({SEEN[0]} pictures: " + (f"{DEFECTS[name][0][few - 1]:g})" if few > 0 else "not at all)")
        return text + ("" if monotone(audit, name, measure, SEEN[1]) else ", not in step with the dose")

    lifted = tricks[(tricks.measure == measure) & (tricks.better >= POWER)]
    told = {"Notices": "; ".join(map(sees, large.index[large > 0])), "Blind to": ", ".join(large.index[large == 0]),
            "Calls better": ", ".join(large.index[large < 0]),
            "Tricks that lift it above true sounds": "; ".join(
                f"{row.defect} ({row['mean']:.3g})" for _, row in lifted.iterrows()),
            "False alarms": f"{alarms.worse[ALARM]:.0%} on other takes of the same scenes, {alarms.worse[OTHERS]:.0%} on "
                            "true sounds of other scenes of the class",
            "True sounds have": ", ".join(f"{value:.3g} with n = {n}" for n, value in whole.items())}
    return f"## {measure} {'↑' if BETTER[measure] else '↓'}\n\n" + "\n".join(
        f"* **{name}**: {text or 'none'}" for name, text in told.items()) + "\n"


def beside_real(audit: pd.DataFrame, real: pd.DataFrame) -> str:
    """The smallest noticed doses in SoundWorld and on real sounds, as a table of Markdown, with how often they agree."""
    n = int(real.n.max())
    few = min(SEEN, key=lambda size: abs(size - n))
    world, found = noticed(audit, few), noticed(real, n)
    measures = list(found)

    def cell(defect: str, measure: str) -> str:
        return " / ".join("better" if place < 0 else f"{DEFECTS[defect][0][place - 1]:g}" if place else "blind"
                          for place in (world.loc[defect, measure], found.loc[defect, measure]))

    same = np.mean([(world.loc[defect, name] > 0) == (found.loc[defect, name] > 0) for defect in found.index
                    for name in measures])
    lines = [f"| {defect} | " + " | ".join(cell(defect, name) for name in measures) + " |" for defect in found.index]
    return (f"## On sounds from outside SoundWorld\n\nThe defects of the signal on pieces of recordings and of sounds that "
            f"systems published, {n} against {n} others, which are no takes of the same scenes. In each square: noticed "
            f"from which dose in SoundWorld ({few} pictures) / here. Whether a measure notices a defect at all is the same in "
            f"{same:.0%} of {len(lines) * len(measures)} squares.\n\n| defect | " + " | ".join(measures) + " |\n"
            + "|---" * (len(measures) + 1) + "|\n" + "\n".join(lines) + "\n")


def write(folder: Path) -> None:
    """The cards as a page."""
    audit, tricks = (pd.read_csv(folder / name) for name in ("audit.csv", "tricks.csv"))
    failed = against_predictions(noticed(audit))
    total = len(DEFECTS) * len(BETTER)
    pages = [
        "# What each measure sees\n",
        f"Known defects of true sounds, in six doses each, through the measures of the field (`make bench-audit`). A "
        f"measure notices a dose if its value is worse than that of 95% of subsets without a defect in at least "
        f"{POWER:.0%} of {audit.subsets.max()} subsets of {SEEN[1]} pictures (in brackets: where {SEEN[0]} need another "
        f"dose). Subsets are drawn from {audit.n.max()} pictures of SoundWorld's test split with two sounds each. FD and the tagger's measures ask "
        "networks trained on SoundWorld; MFCC is a listener that nobody trained.\n",
        *(card(audit, tricks, measure) for measure in BETTER),
        f"## Predictions that failed\n\nWritten down before the audit ran: {len(failed)} of {total} were wrong.\n",
        "| defect | measure | predicted | found |\n|---|---|---|---|\n" + "\n".join(
            f"| {row.defect} | {row.measure} | {row.predicted} | {row.found} |" for row in failed.itertuples()) + "\n"]
    if (folder / "audit_real.csv").is_file():
        pages.append(beside_real(audit, pd.read_csv(folder / "audit_real.csv")))
    write_file(folder / "audit.md", "\n".join(pages))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
