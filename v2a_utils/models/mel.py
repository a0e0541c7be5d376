"""Mel spectrograms, as AudioLDM and CLAP compute them."""

import numpy as np
import torch
from torch import nn
from transformers.audio_utils import mel_filter_bank

MEL_FLOOR = 1e-5  # AudioLDM's clamp before the logarithm


def mel_filters(sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float) -> torch.Tensor:
    """Slaney mel filter bank, shape (n_mels, n_fft // 2 + 1): librosa's numbers without its compiler's start-up."""
    filters = mel_filter_bank(n_fft // 2 + 1, n_mels, fmin, fmax, sample_rate, norm="slaney", mel_scale="slaney")
    return torch.from_numpy(filters.T.astype(np.float32))


def magnitudes(waveforms: torch.Tensor, n_fft: int, hop: int) -> torch.Tensor:
    """STFT magnitudes (batch, n_fft // 2 + 1, samples // hop + 1) of (batch, samples), centred frames, Hann window."""
    window = torch.hann_window(n_fft, device=waveforms.device)
    return torch.stft(waveforms, n_fft, hop, window=window, center=True, pad_mode="reflect", return_complex=True).abs()


class LogMelPower(nn.Module):
    """Log-mel power in dB as CLAP and PANNs compute it: (batch, samples) -> (batch, 1, frames, mels).

    Stands in for torchlibrosa's Spectrogram and LogmelFilterBank: the same numbers, by FFT instead of a convolution
    with 1.2 million frozen weights.
    """

    def __init__(self, sample_rate: int, n_fft: int, hop: int, mels: int, fmin: float, fmax: float):
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        self.register_buffer("filters", mel_filters(sample_rate, n_fft, mels, fmin, fmax), persistent=False)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        power = magnitudes(waveforms, self.n_fft, self.hop) ** 2
        return 10 * (self.filters @ power).clamp(min=1e-10).log10().transpose(1, 2)[:, None]


def log_mel(waveforms: torch.Tensor, sample_rate: int = 16_000, n_mels: int = 64, hop: int = 160) -> torch.Tensor:
    """AudioLDM's log-mel in nats, (batch, samples // hop, n_mels), of sounds (batch, samples) at `sample_rate` Hz.

    STFT magnitudes through Slaney mels from 0 Hz to half the rate, floored at 1e-5. Window: the least power of two that
    covers four hops, 1024 samples for AudioLDM's hop of 160, 2048 for the 480 of its 48 kHz models (haoheliu/AudioLDM,
    audioldm/audio/stft.py; its surplus last frame is dropped here too).
    """
    spectra = magnitudes(waveforms, 2 ** (4 * hop - 1).bit_length(), hop)
    return log_mel_of(spectra[..., :-1], sample_rate, n_mels)


def log_mel_of(spectra: torch.Tensor, sample_rate: int, n_mels: int) -> torch.Tensor:
    """The same, (batch, frames, n_mels), of STFT magnitudes (batch, bins, frames)."""
    filters = mel_filters(sample_rate, 2 * (spectra.shape[1] - 1), n_mels, 0, sample_rate / 2).to(spectra.device)
    return (filters @ spectra).clamp(min=MEL_FLOOR).log().transpose(1, 2)
