"""Extraction and generation on a local Ray of two workers: same rows and files, also when a worker dies on the way."""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT, killed_after

from v2a_utils import sound_files
from v2a_utils.data.sources import Clip, Listing, WorldSource, soundworld
from v2a_utils.data.store import Store
from v2a_utils.pipeline import SoundOptions
from v2a_utils.sound_files import Job, generate, make
from v2a_utils.stacks import extraction as embeddings
from v2a_utils.stacks.extraction import embed

ray = pytest.importorskip("ray")


@dataclass(frozen=True)
class DeadlySource(WorldSource):
    """A scene whose first decoding kills the process that does it."""

    marker: str = ""

    def decode(self, *arguments) -> Clip:
        """The clip, the second time."""
        if not Path(self.marker).exists():
            Path(self.marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().decode(*arguments)


@pytest.fixture(scope="module")
def cluster():
    """A Ray of two CPUs on this machine, without a dashboard or a word to anybody."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("PYTHONPATH", str(ROOT))
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        try:
            ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", logging_level="ERROR",
                     object_store_memory=200 * 2**20, log_to_driver=False)
        except Exception as error:  # Ray gives its parts 15 s to start and raises a bare Exception
            pytest.skip(f"Ray does not start here ({error})")
        yield
        ray.shutdown()


@pytest.mark.slow
def test_rows_are_those_of_one_machine_though_a_worker_was_killed(tmp_path, stack, cluster, monkeypatch):
    from v2a_utils.stacks.extraction_on_ray import run_on_ray

    monkeypatch.setattr(embeddings, "SHARD_CLIPS", 4)
    monkeypatch.setattr(embeddings, "BATCH", 2)
    sources, marker = soundworld("test", 10).sources, tmp_path / "killed"
    deadly = sources[:5] + [DeadlySource(**vars(sources[5]), marker=str(marker))] + sources[6:]
    here = embed(Listing("here", sources, []), stack, tmp_path / "here")
    there = embed(Listing("there", deadly, []), stack, (tmp_path / "there").as_uri(), run=run_on_ray)
    assert marker.exists()
    assert there.table(["id", "label", "split", "caption"]) == here.table(["id", "label", "split", "caption"])
    for column in ("visual", "audio"):
        assert np.allclose(there.numpy(column), here.numpy(column), atol=1e-5)
    assert Store(tmp_path / "there").skipped() == []
    embed(Listing("there", deadly, []), stack, tmp_path / "there", resume=True, run=run_on_ray)  # nothing left to do


def make_or_die(stack, job: Job) -> np.ndarray:
    """Kills its process at the first job of rows that begin with the seed 2; the sounds of the job, the second time."""
    marker = job.paths[0].parents[1] / "killed"
    if job.options.seed == 2 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return make(stack, job)


@pytest.mark.slow
def test_files_are_those_of_one_machine_though_worker_and_run_were_killed(tmp_path, stack, cluster, monkeypatch):
    from v2a_utils.stacks.extraction_on_ray import map_on_ray

    monkeypatch.setattr(sound_files, "BATCH", 2)
    store = embed(soundworld("test", 6), stack, tmp_path / "store")
    options, calls = SoundOptions(steps=1, candidates=1), []
    here = generate(stack, store, "regression", tmp_path / "here" / "sounds", options)
    original = sound_files.write_sound
    monkeypatch.setattr(sound_files, "write_sound", killed_after(original, 3, calls))  # in the middle of the second job
    with pytest.raises(KeyboardInterrupt):
        generate(stack, store, "regression", tmp_path / "there" / "sounds", options,
                 run=lambda stack, jobs: map_on_ray(jobs, make_or_die, stack))
    assert (tmp_path / "there" / "killed").exists()
    monkeypatch.setattr(sound_files, "write_sound", original)
    first = {path: path.read_bytes() for path, *_ in calls}
    there = generate(stack, store, "regression", tmp_path / "there" / "sounds", options, run=sound_files.run_on_ray)
    assert [path.name for path in there] == [path.name for path in here] and len(there) == 6
    for pair in zip(here, there):  # but for the last bit, where machines round otherwise
        one, other = (soundfile.read(path, dtype="int16")[0].astype(int) for path in pair)
        assert np.abs(one - other).max() < 3
    assert all(path.read_bytes() == content for path, content in first.items())
