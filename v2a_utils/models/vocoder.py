"""From log-mel to wave without a trained vocoder: Griffin-Lim behind SpeechT5HifiGan's interface."""

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch.nn import functional as F

from v2a_utils.models.mel import mel_filters


class GriffinLimVocoder(ModelMixin, ConfigMixin):
    """Log-mel (batch, frames, 64) in nats -> waveform (batch, frames * 160), as AudioLDM's vocoder is called.

    Magnitudes are the non-negative solution of the mel equation (multiplicative updates, Lee and Seung 2001);
    phases come from the fast Griffin-Lim iteration (Perraudin et al. 2013) from a zero start, so the result is a
    function of the mel alone. `upsample_rates` and `model_in_dim` are the entries that pipelines read.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self, sampling_rate: int = 16_000, model_in_dim: int = 64, n_fft: int = 1024, upsample_rates: tuple = (160,),
        iterations: int = 32, momentum: float = 0.99,
    ):
        super().__init__()
        filters = mel_filters(sampling_rate, n_fft, model_in_dim, 0, sampling_rate // 2)
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.register_buffer("anchor", torch.zeros(1))  # a file of weights that is never empty

    def forward(self, log_mels: torch.Tensor) -> torch.Tensor:
        with torch.autocast(log_mels.device.type, enabled=False):  # sixteen bits are too few for phases
            return self._waves(log_mels)

    def _waves(self, log_mels: torch.Tensor) -> torch.Tensor:
        mel = log_mels.float().exp().transpose(1, 2)
        mel = torch.cat([mel, mel[..., -1:]], dim=2)  # centred frames: one more than whole hops
        length = log_mels.shape[1] * self.config.upsample_rates[0]
        # one by one: what belongs to a single sound stays in the processor's cache, which halves the time
        return torch.stack([self._with_phases(self._linear(one), length) for one in mel])

    def _linear(self, mel: torch.Tensor) -> torch.Tensor:
        """Non-negative magnitudes (bins, frames) whose mel is `mel` (mels, frames)."""
        target = magnitude = self.filters.T @ mel
        for _ in range(60):
            magnitude = magnitude * target / (self.filters.T @ (self.filters @ magnitude) + 1e-9)
        return magnitude

    def _with_phases(self, magnitude: torch.Tensor, length: int) -> torch.Tensor:
        """The wave (length,) whose STFT comes near `magnitude` (bins, frames)."""
        magnitude = magnitude.T.contiguous()
        envelope = self._overlap_add(self.window.square().expand(len(magnitude), -1)).clamp(min=1e-8)
        middle = slice(self.config.n_fft // 2, self.config.n_fft // 2 + length)
        step = self.config.momentum / (1 + self.config.momentum)

        def wave(spectrum: torch.Tensor) -> torch.Tensor:
            frames = torch.fft.irfft(spectrum, self.config.n_fft) * self.window
            return (self._overlap_add(frames) / envelope)[middle]

        spectrum, before = magnitude.to(torch.complex64), 0
        for _ in range(self.config.iterations):
            padded = F.pad(wave(spectrum)[None], (middle.start, middle.start), mode="reflect")[0]
            frames = padded.unfold(0, self.config.n_fft, self.config.upsample_rates[0])
            rebuilt = torch.fft.rfft(frames * self.window)
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
