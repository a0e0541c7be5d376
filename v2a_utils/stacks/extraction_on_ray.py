"""Embedding extraction on many machines, with Ray Data (the optional extra `scale`).

    jobs ──tasks on CPUs: decode, preprocess──▶ batches ──actors, one per GPU: CLIP, CLAP──▶ rows ──▶ this process

The sources are listed once, here, and only their embeddings, some kilobytes a clip, come back to be written as shards:
the same as `extraction.run_here` makes. Ray gives the work of a worker that dies to another one.
"""

from collections.abc import Callable, Iterator
from functools import partial

from v2a_utils.stacks.extraction import EmbedOptions, Encoded, Job, Preparation, encode, preparation
from v2a_utils.stacks.places import StackConfig
from v2a_utils.stacks.stack import Stack

try:
    import ray
    import ray.data
except ImportError as error:
    raise ValueError("the engine ray needs the package ray: pip install 'v2a-utils[scale]'") from error


class Actor:
    """Holds a stack, and answers each item by `function(stack, item)`."""

    def __init__(self, function: Callable, config: StackConfig):
        self.function, self.stack = function, Stack(config)

    def __call__(self, row: dict) -> dict:
        """{"number", "item"} -> {"number", "answer"}."""
        return {"number": row["number"], "answer": self.function(self.stack, row["item"])}


def run_on_ray(jobs: list[Job], stack: Stack, options: EmbedOptions) -> Iterator[tuple[Job, Encoded]]:
    """Every job with what becomes of it, as soon as it is done, on the cluster at RAY_ADDRESS or else on a local Ray.

    Every machine needs this package, the weights and the data at the same paths.
    """
    towers = partial(encode, aggregate=options.aggregate)
    for number, encoded in _on_ray(jobs, towers, stack.config, preparation(stack, options)) if jobs else ():
        yield jobs[number], encoded


def map_on_ray(items: list, function: Callable, stack: Stack) -> Iterator:
    """`function(stack, item)` of every item, in order, by an actor for each GPU of the cluster or one for the CPUs."""
    early, wanted = {}, 0
    for number, answer in _on_ray(items, function, stack.config) if items else ():
        early[number] = answer
        while wanted in early:
            yield early.pop(wanted)
            wanted += 1


def _on_ray(items: list, function: Callable, config: StackConfig,
            prepare: Preparation | None = None) -> Iterator[tuple[int, object]]:
    """(number, answer) of every item as soon as it is done: by `prepare` on CPUs, if given, then by an actor."""
    ray.init(ignore_reinit_error=True, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False  # the caller shows one
    gpus = int(ray.cluster_resources().get("GPU", 0))
    rows = ray.data.from_items([{"number": number, "item": item} for number, item in enumerate(items)],
                               override_num_blocks=len(items))
    if prepare is not None:
        rows = rows.map(_prepare, fn_kwargs={"prepare": prepare})
    done = rows.map(Actor, fn_constructor_args=(function, config), concurrency=max(gpus, 1), num_gpus=min(gpus, 1))
    for row in done.iter_rows():
        yield row["number"], row["answer"]


def _prepare(row: dict, prepare: Preparation) -> dict:
    return {"number": row["number"], "item": prepare(row["item"])}
