"""The extraction on a local Ray of two workers: same rows, also when a worker dies on the way."""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from v2a_utils.data.sources import Clip, Listing, WorldSource, soundworld
from v2a_utils.data.store import Store
from v2a_utils.models import extraction as embeddings
from v2a_utils.models.extraction import embed

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


def test_rows_are_those_of_one_machine_though_a_worker_was_killed(tmp_path, stack, cluster, monkeypatch):
    from v2a_utils.models.extraction_on_ray import run_on_ray

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
