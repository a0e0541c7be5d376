"""What tells a frozen AudioLDM *when* to sound: beside the mapper the only thing that is trained for it.

A ControlNet (arXiv 2302.05543) in small: the events of a film, a line over time, become numbers that are added to the
skip connections of the frozen UNet. Its last layers are zero before the training, so it begins by changing nothing.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers.models.embeddings import get_timestep_embedding
from torch import nn
from torch.nn import functional as F

from v2a_utils.data.files import write_json
from v2a_utils.metrics.timing import event_curve, peaks, unseen
from v2a_utils.models.audioldm import Generator
from v2a_utils.models.weights import load_weights, save_weights
from v2a_utils.stacks.stack import Stack

EVENT, BLIND = 0, 1  # rows of a timeline
WIDTH = 0.02  # s, standard deviation of an event's pulse
NAME = "event_adapter"  # of the files in an AudioLDM folder


def timeline(times: np.ndarray, frames: int, rate: float, blind: np.ndarray | None = None) -> np.ndarray:
    """Events at `times` (s) as float32 (2, frames), `rate` frames a second: a pulse for each, and where nobody knows.

    `blind` (frames,), true where the film shows nothing of its events; by default nowhere.
    """
    away = np.arange(frames)[:, None] / rate - np.asarray(times, np.float64)
    pulses = np.exp(-0.5 * (away / WIDTH) ** 2).max(1, initial=0)
    return np.stack([pulses, np.zeros(frames) if blind is None else blind]).astype(np.float32)


class EventAdapter(nn.Module):
    """Timelines (batch, 2, mel frames) -> what is added in a UNet.

    `sites` are the skip connections in the UNet's order and then its middle, each (channels, times that it is halved);
    `factor` is the number of mel frames in one of the latents' frames, `dim` the size of the CLAP embedding.
    """

    def __init__(self, sites: list[list[int]], factor: int, dim: int, width: int = 96, depth: int = 3):
        super().__init__()
        self.config = {"sites": sites, "factor": factor, "dim": dim, "width": width, "depth": depth}
        self.factor, self.width = factor, width
        self.enter = nn.Conv1d(2 * factor, width, 3, padding=1)
        self.noise, self.condition = nn.Linear(width, width), nn.Linear(dim, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(),
                          nn.Conv1d(width, width, 3, padding=2**number, dilation=2**number),
                          nn.SiLU(), nn.Conv1d(width, width, 3, padding=1)) for number in range(depth))
        self.leave = nn.ModuleList(nn.Conv1d(width, channels, 2**halved, stride=2**halved)
                                   for channels, halved in sites)
        for layer in self.leave:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> "EventAdapter | None":
        """As it lies in an AudioLDM folder; None where there is none."""
        path = folder / f"{NAME}.json"
        if not path.is_file():
            return None
        adapter = cls(**json.loads(path.read_text()))
        load_weights(adapter, path.with_suffix(".safetensors"))
        return adapter.to(device).eval()

    def save(self, folder: Path) -> None:
        """Into an AudioLDM folder, in half precision."""
        save_weights(self, folder / f"{NAME}.safetensors")
        write_json(folder / f"{NAME}.json", self.config)

    def forward(self, timelines: torch.Tensor, time: torch.Tensor | int, labels: torch.Tensor) -> list[torch.Tensor]:
        """At a time of the diffusion, or (batch,) of them, under CLAP embeddings (batch, dim).

        Of each of `sites` (batch, channels, frames, 1), the same for all mels.
        """
        count, rows, _ = timelines.shape
        x = timelines.view(count, rows, -1, self.factor).transpose(2, 3).reshape(count, rows * self.factor, -1)
        times = torch.as_tensor(time, device=x.device).expand(count)
        about = self.noise(get_timestep_embedding(times, self.width)) + self.condition(labels * labels.shape[1] ** 0.5)
        x = self.enter(x) + about[:, :, None]
        for block in self.blocks:
            x = x + block(x)
        x = F.silu(x)
        return [layer(x)[..., None] for layer in self.leave]


@dataclass(frozen=True)
class Control:
    """An adapter and the timelines (n, 2, mel frames) of a batch of sounds, for `Generator.generate(control=)`.

    A sound whose timeline holds no event is what it would be without one, to the last bit.
    """

    adapter: EventAdapter
    timelines: torch.Tensor

    @classmethod
    def by_films(cls, generator: Generator, adapter: EventAdapter, films: list[np.ndarray],
                 seconds: float) -> "Control":
        """What sounds of so many seconds are told by their films, each its `motion` (frames,)."""
        frames, rate = generator.latent_shape(seconds)[1] * adapter.factor, generator.sample_rate / generator.hop
        rows = []
        for moved in films:
            frame_rate = len(moved) / seconds
            curve = event_curve(moved, frame_rate)
            number = (np.arange(frames) / rate * frame_rate).astype(int).clip(0, len(moved) - 1)
            rows.append(timeline(peaks(curve, frame_rate), frames, rate, unseen(moved, curve)[number]))
        return cls(adapter, torch.from_numpy(np.stack(rows)).to(generator.device))

    def rows(self, part: slice) -> "Control":
        """Of some of the sounds."""
        return Control(self.adapter, self.timelines[part])

    def __call__(self, time: torch.Tensor | int, labels: torch.Tensor) -> list[torch.Tensor]:
        told = self.timelines[:, EVENT].any(1)[:, None, None, None]
        return [one * told for one in self.adapter(self.timelines, time, labels)]


def event_adapter(stack: Stack) -> EventAdapter | None:
    """A stack's adapter, loaded once; None if its AudioLDM folder holds none."""
    if NAME not in stack.cache:
        stack.cache[NAME] = EventAdapter.load(stack.place("audioldm"), stack.device)
    return stack.cache[NAME]
