"""Embedding extraction on many machines, with Ray Data (the optional extra `scale`).

    jobs ──tasks on CPUs: decode, preprocess──▶ batches ──actors, one per GPU: CLIP, CLAP──▶ rows ──▶ this process

The sources are listed once, here, and only their embeddings, some kilobytes a clip, come back to be written as shards:
the same as `embeddings.run_here` makes. What a worker that dies had in hand, Ray gives to another one.
"""

from collections.abc import Callable, Iterator

from v2a_utils.models.extraction import EmbedOptions, Encoded, Job, Preparation, encode, preparation
from v2a_utils.models.stacks import Stack, StackConfig

try:
    import ray
    import ray.data
except ImportError as error:
    raise ValueError("the engine ray needs the package ray: pip install 'v2a-utils[scale]'") from error


class Encoder:
    """An actor that holds a stack and runs both towers on prepared jobs."""

    def __init__(self, config: StackConfig, options: EmbedOptions):
        self.stack, self.aggregate = Stack(config), options.aggregate

    def __call__(self, row: dict) -> dict:
        """{"number", "item"} -> {"number", "answer"}: prepared clips -> their rows."""
        return {"number": row["number"], "answer": encode(self.stack, row["item"], self.aggregate)}


def run_on_ray(jobs: list[Job], stack: Stack, options: EmbedOptions) -> Iterator[tuple[Job, Encoded]]:
    """Every job with what becomes of it, as they get done on the cluster at RAY_ADDRESS, else on a local Ray.

    Every machine needs this package, the weights and the data at the same paths.
    """
    if jobs:
        for number, encoded in _on_ray(jobs, Encoder, (stack.config, options), preparation(stack, options)):
            yield jobs[number], encoded


class Actor:
    """An actor that holds a stack for `make(stack)`, whose answers to items it gives."""

    def __init__(self, make: Callable, config: StackConfig):
        self.answer = make(Stack(config))

    def __call__(self, row: dict) -> dict:
        """{"number", "item"} -> {"number", "answer"}."""
        return {"number": row["number"], "answer": self.answer(row["item"])}


def map_on_ray(items: list, make: Callable, stack: Stack) -> Iterator:
    """`make(stack)` of every item, in order, by one actor for each GPU of the cluster (or one for the CPUs)."""
    early, wanted = {}, 0
    for number, answer in _on_ray(items, Actor, (make, stack.config)) if items else ():
        early[number] = answer
        while wanted in early:
            yield early.pop(wanted)
            wanted += 1


def _on_ray(items: list, actor: type, arguments: tuple, prepare: Callable | None = None) -> Iterator[tuple[int, object]]:
    """(number, answer) of every item, as they get done: `prepare` on CPUs, if given, then the actors."""
    ray.init(ignore_reinit_error=True, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False  # the caller shows one
    gpus = int(ray.cluster_resources().get("GPU", 0))
    rows = ray.data.from_items([{"number": number, "item": item} for number, item in enumerate(items)],
                               override_num_blocks=len(items))
    if prepare is not None:
        rows = rows.map(_prepare, fn_kwargs={"prepare": prepare})
    done = rows.map(actor, fn_constructor_args=arguments, concurrency=max(gpus, 1), num_gpus=min(gpus, 1))
    for row in done.iter_rows():
        yield row["number"], row["answer"]


def _prepare(row: dict, prepare: Preparation) -> dict:
    return {"number": row["number"], "item": prepare(row["item"])}
