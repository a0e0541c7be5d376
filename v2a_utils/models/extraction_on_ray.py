"""Embedding extraction on many machines, with Ray Data (the optional extra `scale`).

    jobs ──tasks on CPUs: decode, preprocess──▶ batches ──actors, one per GPU: CLIP, CLAP──▶ rows ──▶ this process

The sources are listed once, here, and only their embeddings, some kilobytes a clip, come back to be written as shards:
the same as `embeddings.run_here` makes. What a worker that dies had in hand, Ray gives to another one.
"""

from collections.abc import Iterator

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
        """{"number", "prepared"} -> {"number", "encoded"}."""
        return {"number": row["number"], "encoded": encode(self.stack, row["prepared"], self.aggregate)}


def run_on_ray(jobs: list[Job], stack: Stack, options: EmbedOptions) -> Iterator[tuple[Job, Encoded]]:
    """Every job with what becomes of it, as they get done on the cluster at RAY_ADDRESS, else on a local Ray.

    Every machine needs this package, the weights and the data at the same paths.
    """
    if not jobs:
        return
    ray.init(ignore_reinit_error=True, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False  # the caller shows one
    gpus = int(ray.cluster_resources().get("GPU", 0))
    rows = [{"number": number, "job": job} for number, job in enumerate(jobs)]
    done = (
        ray.data.from_items(rows, override_num_blocks=len(rows))
        .map(_prepare, fn_kwargs={"prepare": preparation(stack, options)})
        .map(Encoder, fn_constructor_args=(stack.config, options), concurrency=max(gpus, 1), num_gpus=min(gpus, 1))
    )
    for row in done.iter_rows():
        yield jobs[row["number"]], row["encoded"]


def _prepare(row: dict, prepare: Preparation) -> dict:
    return {"number": row["number"], "prepared": prepare(row["job"])}
