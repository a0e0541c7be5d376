"""Does `--exclude` take away what it names, and nothing else? (`python -m benchmarks.exclusion`)

Duets of SoundWorld's test split: the generator is given the CLAP embedding of the true sound of two things, and one of
the two is excluded by its name. The tagger tells what is still heard: a thing counts as heard if it is among the two
likeliest classes. A row a guidance scale, shares over the duets with their intervals, without and with `exclude`.
"""

import argparse

import numpy as np
import pandas as pd
from soundworld import class_prompt, make_scene, synthesise

from v2a_utils.metrics.sounds import rate_interval
from v2a_utils.stacks.stack import load_stack


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exclusion", description=__doc__.splitlines()[0])
    parser.add_argument("--duets", type=int, default=60)
    parser.add_argument("--guidance", type=float, nargs="+", default=[2, 4])
    options = parser.parse_args()
    stack, duets = load_stack("mini"), (scene for index in range(10**6)
                                        if len((scene := make_scene("test", index)).things) == 2)
    scenes = [next(duets) for _ in range(options.duets)]
    conditions = stack.audio.embed_audio([synthesise(scene) for scene in scenes], stack.generator.sample_rate)
    away, stays = ([scene.things[place].name for scene in scenes] for place in (1, 0))
    words = stack.embed_words([class_prompt(name, "sound") for name in away])
    rows = []
    for guidance in options.guidance:
        for named, excluded in (("without", [None] * len(scenes)), ("with", words)):
            waves = [stack.generator.generate(row[None], 10, guidance, seed=number, exclude=word)[0]
                     for number, (row, word) in enumerate(zip(conditions, excluded))]
            likely = np.argsort(-stack.tagger.logits(waves, stack.generator.sample_rate), 1)[:, :2]
            heard = [{stack.tagger.names[place] for place in two} for two in likely]
            rows.append({"guidance": guidance, "exclude": named} | {
                what: rate_interval(np.array([name in two for name, two in zip(names, heard)])).percent()
                for what, names in (("the excluded is heard", away), ("the other is heard", stays))})
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
