"""From log-mel to wave behind SpeechT5HifiGan's interface: Griffin-Lim, alone or after a network's guess."""

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import nn
from torch.nn import functional as F

from v2a_utils.models.mel import mel_filters

MOST = 10.0  # times louder in one update: where there is next to nothing, a ratio says nothing


class GriffinLimVocoder(ModelMixin, ConfigMixin):
    """Log-mel (batch, frames, 64) in nats -> waveform (batch, frames * 160), as AudioLDM's vocoder is called.

    Magnitudes solve the mel equation: multiplicative updates for the Kullback-Leibler divergence (Lee and Seung 2001)
    scale a first guess, here a smooth one, until its mel is the one given. Phases come from the fast Griffin-Lim
    iteration (Perraudin et al. 2013) from a zero start, so the result is a function of the mel alone. After every
    `rescale_every` of its iterations (0: never) the magnitudes are scaled again, to the mel that the wave itself lacks.
    `upsample_rates` and `model_in_dim` are the entries that pipelines read.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(self, sampling_rate: int = 16_000, model_in_dim: int = 64, n_fft: int = 1024,
                 upsample_rates: tuple = (160,), iterations: int = 32, momentum: float = 0.99, updates: int = 20,
                 rescale_every: int = 0):
        super().__init__()
        filters = mel_filters(sampling_rate, n_fft, model_in_dim, 0, sampling_rate // 2)
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("reach", filters.sum(0).clamp(min=1e-6), persistent=False)  # no mel hears bins 0 and 512
        self.register_buffer("shares", filters / self.reach, persistent=False)  # of each mel in a bin's whole weight
        self.register_buffer("sums", filters.sum(1), persistent=False)  # of each mel's weights
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.register_buffer("anchor", torch.zeros(1))  # a file of weights that is never empty

    def forward(self, log_mels: torch.Tensor) -> torch.Tensor:
        with torch.autocast(log_mels.device.type, enabled=False):  # sixteen bits are too few for phases
            return self._waves(log_mels)

    def _waves(self, log_mels: torch.Tensor) -> torch.Tensor:
        log_mels = torch.cat([log_mels, log_mels[:, -1:]], dim=1)  # centred frames: one more than whole hops
        # one by one: what belongs to a single sound stays in the processor's cache, which halves the time
        return torch.stack([self._with_phases(self.magnitudes(one[None])[0], one.exp()) for one in log_mels.float()])

    def magnitudes(self, log_mels: torch.Tensor) -> torch.Tensor:
        """STFT magnitudes (batch, frames, bins) whose log-mels come near `log_mels` (batch, frames, mels)."""
        mel, magnitude = log_mels.exp(), self._first_guess(log_mels)
        with torch.autocast(mel.device.type, enabled=False):  # training uses it, for the network alone
            for _ in range(self.config.updates):
                magnitude = self._scaled(magnitude, magnitude, mel)
        return magnitude

    def _scaled(self, magnitude: torch.Tensor, heard: torch.Tensor, mel: torch.Tensor) -> torch.Tensor:
        """`magnitude`, louder where magnitudes `heard` have less than the mel asks for, softer where they have more."""
        lacking = (mel / (heard @ self.filters.T + 1e-9)).clamp(max=MOST)
        return magnitude * (lacking @ self.filters) / self.reach

    def _first_guess(self, log_mels: torch.Tensor) -> torch.Tensor:
        """What the updates start from, and so which of the many solutions they find, (batch, frames, bins)."""
        return self._smooth(log_mels).exp()

    def _smooth(self, log_mels: torch.Tensor) -> torch.Tensor:
        """Log magnitudes that are as even as the bands are wide, (batch, frames, bins)."""
        with torch.autocast(log_mels.device.type, enabled=False):
            return (log_mels - self.sums.log()) @ self.shares

    def _with_phases(self, magnitude: torch.Tensor, mel: torch.Tensor) -> torch.Tensor:
        """The wave (samples,) whose STFT comes near `magnitude` (frames, bins), its mel near `mel` (frames, mels)."""
        envelope = self._overlap_add(self.window.square().expand(len(magnitude), -1)).clamp(min=1e-8)
        length = (len(magnitude) - 1) * self.config.upsample_rates[0]
        middle = slice(self.config.n_fft // 2, self.config.n_fft // 2 + length)
        step = self.config.momentum / (1 + self.config.momentum)

        def wave(spectrum: torch.Tensor) -> torch.Tensor:
            frames = torch.fft.irfft(spectrum, self.config.n_fft) * self.window
            return (self._overlap_add(frames) / envelope)[middle]

        spectrum, before = magnitude.to(torch.complex64), 0
        for turn in range(self.config.iterations):
            padded = F.pad(wave(spectrum)[None], (middle.start, middle.start), mode="reflect")[0]
            frames = padded.unfold(0, self.config.n_fft, self.config.upsample_rates[0])
            rebuilt = torch.fft.rfft(frames * self.window)
            if self.config.rescale_every and turn and turn % self.config.rescale_every == 0:
                magnitude = self._scaled(magnitude, rebuilt.abs(), mel)
            spectrum = magnitude * torch.sgn(rebuilt - step * before)
            before = rebuilt
        return wave(spectrum)

    def _overlap_add(self, frames: torch.Tensor) -> torch.Tensor:
        """The sum of frames (number, n_fft), each a hop later. torch.istft spends most of its time on this."""
        number, hop = len(frames), self.config.upsample_rates[0]
        parts = F.pad(frames, (0, -frames.shape[1] % hop)).unflatten(1, (-1, hop))
        total = frames.new_zeros(number + parts.shape[1] - 1, hop)
        for place in range(parts.shape[1]):
            total[place : place + number] += parts[:, place]
        return total.flatten()


class LearnedVocoder(GriffinLimVocoder):
    """Griffin-Lim whose mel equation is solved from the guess of a network, which knows harmonics from noise.

    Above some 2 kHz a mel band is wider than the space between the harmonics of a low voice: a smooth guess spreads
    their energy over the whole band, and breath is heard. The network, ConvNeXt blocks over time (arXiv 2201.03545, as
    in Vocos, arXiv 2306.00814), guesses every bin of the STFT; the updates give each band the energy that it must have.
    No phases fit magnitudes so sharp, and the wave loses energy: scaling them again makes up for it.
    """

    @register_to_config
    def __init__(self, sampling_rate: int = 16_000, model_in_dim: int = 64, n_fft: int = 1024,
                 upsample_rates: tuple = (160,), iterations: int = 32, momentum: float = 0.99, updates: int = 8,
                 rescale_every: int = 8, width: int = 256, depth: int = 6):
        super().__init__(sampling_rate, model_in_dim, n_fft, upsample_rates, iterations, momentum, updates,
                         rescale_every)
        self.enter = nn.Conv1d(model_in_dim, width, 3, padding=1)
        self.blocks = nn.Sequential(*(ConvNeXtBlock(width) for _ in range(depth)))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, n_fft // 2 + 1))
        nn.init.normal_(self.leave[1].weight, std=1e-3)  # training begins at the smooth guess
        nn.init.zeros_(self.leave[1].bias)

    def _first_guess(self, log_mels: torch.Tensor) -> torch.Tensor:
        hidden = self.enter((log_mels.transpose(1, 2) + 6) / 3).transpose(1, 2)  # log-mels: mean -6, deviation 3 nats
        return (self._smooth(log_mels) + self.leave(self.blocks(hidden)).float()).clamp(-20, 10).exp()


class ConvNeXtBlock(nn.Module):
    """A residual block over time, (batch, frames, width) in and out."""

    def __init__(self, width: int):
        super().__init__()
        self.over_time = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.over_width = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.GELU(),
                                        nn.Linear(3 * width, width))
        self.scale = nn.Parameter(torch.full((width,), 0.3))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        mixed = self.over_time(hidden.transpose(1, 2)).transpose(1, 2)
        return hidden + self.scale * self.over_width(mixed)
