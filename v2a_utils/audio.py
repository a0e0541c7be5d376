"""Sound: files, mel spectrograms, and CLAP, which turns sounds and texts into embeddings.

CLAP is laion_clap's HTSAT audio tower with a RoBERTa text tower, in the parameter names of laion_clap's checkpoints.
`import laion_clap` itself asks a model hub for three tokenizers, so only its tower code is imported.
"""

import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import av
import numpy as np
import soundfile
import soxr
import torch
from torch import nn
from torch.nn import functional as F
from transformers.audio_utils import mel_filter_bank

from v2a_utils.files import whole_file
from v2a_utils.weights import load_weights

SOUNDS = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".aif", ".aiff", ".wma", ".au", ".caf",
          ".w64", ".ac3", ".amr", ".mka", ".mp2"}
HEARING_RATE = 16_000  # Hz, at which AudioLDM hears: its CLAP gets sounds that went through this, whatever its own
MEL_FLOOR = 1e-5  # AudioLDM's clamp before the logarithm
LOUDNESS = -20.0  # dB relative to full scale (RMS of the loud parts) of every sound that is written or played


def load_audio(path: str | Path, sample_rate: int, seconds: float | None = None) -> np.ndarray:
    """The sound of a sound file or a video as mono float32 of shape (samples,) at `sample_rate` Hz.

    Channels are averaged, any number of them; `seconds` reads no more than that much from the start. ValueError names
    a file that cannot be read, that holds no sound, or that holds samples which are no numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        waveform, rate = _read_samples(path, seconds)
    except Exception as error:  # damaged files raise nearly anything
        reason = str(error).replace("\n", " ").replace(f"'{path}'", "it") or type(error).__name__
        raise ValueError(f"{path}: not a sound file that can be read ({reason})") from error
    if not len(waveform):
        raise ValueError(f"{path}: the file holds no sound")
    if not np.isfinite(waveform).all():
        raise ValueError(f"{path}: the sound holds samples that are no numbers (NaN or infinite); export it anew")
    return resample(waveform.mean(1), rate, sample_rate)


def _read_samples(path: Path, seconds: float | None) -> tuple[np.ndarray, int]:
    """Samples float32 (samples, channels) and their rate in Hz: by libsndfile, else by FFmpeg."""
    try:
        with soundfile.SoundFile(path) as file:
            wanted = -1 if seconds is None else math.ceil(seconds * file.samplerate)
            return file.read(wanted, dtype="float32", always_2d=True), file.samplerate
    except soundfile.LibsndfileError:  # a compressed format or a video
        return _decode_samples(path, seconds)


def _decode_samples(path: Path, seconds: float | None) -> tuple[np.ndarray, int]:
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return np.zeros((0, 1), np.float32), 1
        stream = container.streams.audio[0]
        rate = stream.codec_context.sample_rate
        wanted = math.inf if seconds is None else math.ceil(seconds * rate)
        as_floats, blocks, have = av.AudioResampler("fltp", stream.layout, rate), [], 0
        for frame in container.decode(stream):
            blocks += [block.to_ndarray() for block in as_floats.resample(frame)]
            have += frame.samples
            if have >= wanted:
                break
    waveform = np.concatenate(blocks, axis=1).T if blocks else np.zeros((0, 1), np.float32)
    return waveform[: min(wanted, len(waveform))], rate


def resample(waveform: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """A waveform (samples,) at `rate` Hz brought to `wanted` Hz; at least one sample stays of any sound."""
    if rate == wanted:
        return waveform
    resampled = soxr.resample(waveform, rate, wanted)  # librosa's resampler, without its compiler's start-up
    return resampled if len(resampled) else waveform[:1]


def fit_length(waveform: np.ndarray, length: int) -> np.ndarray:
    """Crop a waveform to `length` samples, or repeat and zero-pad it to them ("repeatpad" of laion_clap)."""
    if not len(waveform):
        raise ValueError("a sound without samples has no embedding")
    if len(waveform) < length:
        waveform = np.tile(waveform, length // len(waveform))
        waveform = np.pad(waveform, (0, length - len(waveform)))
    return waveform[:length]


def save_audio(path: str | Path, waveform: np.ndarray, sample_rate: int) -> None:
    """Write mono float samples in [-1, 1] as 16-bit PCM."""
    with whole_file(path) as temporary:
        soundfile.write(temporary, waveform, sample_rate, subtype="PCM_16", format="WAV")


def loudness(waveform: np.ndarray) -> float:
    """Level in dB relative to full scale: RMS of the loudest 30% of blocks of 800 samples; silence is -120.

    Only the loud blocks count, so that a bark and a roar that sound alike loud measure alike.
    """
    block = 800  # 50 ms at 16 kHz
    blocks = np.resize(waveform, (max(len(waveform) // block, 1), block))
    rms = np.sqrt((blocks**2).mean(1))
    loud = np.sqrt((rms[rms >= np.quantile(rms, 0.7)] ** 2).mean())
    return 20 * float(np.log10(max(loud, 1e-6)))


def even_loudness(waveform: np.ndarray, level: float = LOUDNESS) -> np.ndarray:
    """The waveform at one loudness: brought to `level` dB, then peaks kept below 0.99. Silence stays silence."""
    heard = loudness(waveform)
    if heard <= -120:
        return waveform
    louder = waveform * 10 ** ((level - heard) / 20)
    return louder * min(1.0, 0.99 / np.abs(louder).max())


def mel_filters(sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float) -> torch.Tensor:
    """Slaney mel filter bank, shape (n_mels, n_fft // 2 + 1): librosa's numbers without its compiler's start-up."""
    filters = mel_filter_bank(n_fft // 2 + 1, n_mels, fmin, fmax, sample_rate, norm="slaney", mel_scale="slaney")
    return torch.from_numpy(filters.T.astype(np.float32))


def magnitudes(waveforms: torch.Tensor, n_fft: int, hop: int) -> torch.Tensor:
    """STFT magnitudes (batch, n_fft // 2 + 1, samples // hop + 1) of (batch, samples), centred frames, Hann window."""
    window = torch.hann_window(n_fft, device=waveforms.device)
    return torch.stft(waveforms, n_fft, hop, window=window, center=True, pad_mode="reflect", return_complex=True).abs()


def log_mel(waveforms: torch.Tensor) -> torch.Tensor:
    """AudioLDM's log-mel in nats, (batch, samples // 160, 64), of 16 kHz sounds (batch, samples).

    STFT magnitudes (n_fft 1024, hop 160) through 64 Slaney mels from 0 to 8000 Hz, floored at 1e-5
    (haoheliu/AudioLDM, audioldm/audio/stft.py; its surplus last frame is dropped here too).
    """
    filters = mel_filters(16_000, 1024, 64, 0, 8000).to(waveforms.device)
    mel = (filters @ magnitudes(waveforms, 1024, 160))[..., :-1]
    return mel.clamp(min=MEL_FLOOR).log().transpose(1, 2)


class LogMelPower(nn.Module):
    """CLAP's front end: (batch, samples) -> (batch, 1, frames, mels) log power in dB.

    Stands in for torchlibrosa's Spectrogram and LogmelFilterBank: the same numbers, by FFT instead of a convolution
    with 1.2 million frozen weights.
    """

    def __init__(self, config: SimpleNamespace):
        super().__init__()
        self.n_fft, self.hop = config.window_size, config.hop_size
        filters = mel_filters(config.sample_rate, self.n_fft, config.mel_bins, config.fmin, config.fmax)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        power = magnitudes(waveforms, self.n_fft, self.hop) ** 2
        return 10 * (self.filters @ power).clamp(min=1e-10).log10().transpose(1, 2)[:, None]


def _htsat_class():
    """laion_clap's audio tower out of laion_clap's own file.

    The file is imported as part of a package of ours, since laion_clap's would ask a hub for tokenizers and load a
    machine-learning library for its losses. In this copy the front end's place stays free for `LogMelPower`.
    """
    if "v2a_clap_towers" not in sys.modules:
        folder = Path(importlib.util.find_spec("laion_clap").submodule_search_locations[0])
        package = ModuleType("v2a_clap_towers")
        package.__path__ = [str(folder / "clap_module")]
        sys.modules[package.__name__] = package
    htsat = importlib.import_module("v2a_clap_towers.htsat")
    htsat.Spectrogram = htsat.LogmelFilterBank = nn.Identity
    return htsat.HTSAT_Swin_Transformer


def _forget_constants(tower: nn.Module) -> None:
    """Which window position is how far from which follows from the tower's shape: no need to keep it in files."""
    for module in tower.modules():
        for name in {"relative_position_index", "attn_mask"} & set(module._buffers):
            module.register_buffer(name, getattr(module, name), persistent=False)


def _projection(width: int, joint: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, joint), nn.ReLU(), nn.Linear(joint, joint))


class Clap(nn.Module):
    """CLAP: HTSAT for sounds, RoBERTa for texts, one space of `embed_dim` (LAION-CLAP, arXiv 2211.06687).

    `config` follows laion_clap's model configs: "audio_cfg" (its keys, plus "htsat" with the tower's own arguments),
    "text_cfg" (transformers' RobertaConfig) and "joint_embed_shape".
    """

    def __init__(self, config: dict):
        from transformers import RobertaConfig, RobertaModel

        super().__init__()
        self.config = config
        audio, joint = SimpleNamespace(**config["audio_cfg"]), config["joint_embed_shape"]
        self.sample_rate, self.clip_samples, self.embed_dim = audio.sample_rate, audio.clip_samples, joint
        self.audio_branch = _htsat_class()(num_classes=audio.class_num, config=audio, **audio.htsat)
        self.audio_branch.spectrogram_extractor = LogMelPower(audio)
        self.audio_branch.logmel_extractor = nn.Identity()
        _forget_constants(self.audio_branch)
        self.text_branch = RobertaModel(RobertaConfig(**config["text_cfg"]))
        self.audio_projection = _projection(self.audio_branch.num_features, joint)
        self.text_projection = _projection(config["text_cfg"]["hidden_size"], joint)
        self.logit_scale_a = nn.Parameter(torch.tensor(np.log(1 / 0.07), dtype=torch.float32))

    def embed_audio(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, clip_samples) at `sample_rate` -> unit-norm (batch, embed_dim)."""
        return self.project_audio(self.hear(waveforms))

    def hear(self, waveforms: torch.Tensor) -> dict[str, torch.Tensor]:
        """The tower's outputs: "embedding" (batch, features) and "clipwise_output" (batch, classes)."""
        return self.audio_branch({"waveform": waveforms}, device=waveforms.device)

    def project_audio(self, heard: dict[str, torch.Tensor]) -> torch.Tensor:
        return F.normalize(self.audio_projection(heard["embedding"]), dim=-1)

    def embed_tokens(self, tokens: dict[str, torch.Tensor]) -> torch.Tensor:
        """Tokenised texts -> unit-norm (batch, embed_dim)."""
        return F.normalize(self.text_projection(self.text_branch(**tokens).pooler_output), dim=-1)


def check_vocabulary(tokenizer, expected: int) -> None:
    """ValueError unless a tokenizer knows about as many tokens as its text tower expects.

    transformers hands out an empty tokenizer, without a word, when files are missing.
    """
    if len(tokenizer) < 0.9 * expected:
        raise ValueError(
            f"the CLAP tokenizer knows {len(tokenizer)} tokens where the text tower expects {expected}: its vocabulary "
            "was not found. Give the folder with tokenizer.json (or vocab.json and merges.txt)"
        )


class AudioEncoder:
    """A frozen CLAP with its tokenizer: sounds and texts in, unit-norm NumPy embeddings out."""

    def __init__(self, model: Clap, tokenizer, device: str = "cpu"):
        check_vocabulary(tokenizer, model.config["text_cfg"]["vocab_size"])
        self.model, self.tokenizer, self.device = model.to(device).eval(), tokenizer, device

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> "AudioEncoder":
        """From a folder with config.json, model.safetensors and the tokenizer's files."""
        from transformers import AutoTokenizer

        folder = Path(folder)
        model = Clap(json.loads((folder / "config.json").read_text()))
        load_weights(model, folder / "model.safetensors")
        return cls(model, AutoTokenizer.from_pretrained(folder), device)

    @property
    def sample_rate(self) -> int:
        return self.model.sample_rate

    @property
    def clip_samples(self) -> int:
        return self.model.clip_samples

    @property
    def embed_dim(self) -> int:
        return self.model.embed_dim

    @property
    def name(self) -> str:
        """Model type and size as in laion_clap's model configs."""
        return "{model_type}-{model_name}".format(**self.model.config["audio_cfg"])

    def fit_length(self, waveform: np.ndarray) -> np.ndarray:
        """Crop to the tower's length, or repeat and zero-pad to it."""
        return fit_length(waveform, self.clip_samples)

    def embed_audio(self, waveforms: list[np.ndarray], sample_rate: int, batch_size: int = 64) -> np.ndarray:
        """Mono waveforms at `sample_rate` Hz -> float32 (n, embed_dim), unit norm."""
        rows = [np.zeros((0, self.embed_dim), np.float32)]
        for start in range(0, len(waveforms), batch_size):
            chunk = [resample(wave, sample_rate, self.sample_rate) for wave in waveforms[start : start + batch_size]]
            batch = np.stack([self.fit_length(wave) for wave in chunk]).astype(np.float32)
            rows.append(self.embed_prepared(torch.from_numpy(batch)))
        return np.concatenate(rows)

    @torch.inference_mode()
    def embed_prepared(self, waveforms: torch.Tensor) -> np.ndarray:
        """Waveforms (n, clip_samples) at the tower's rate -> float32 (n, embed_dim), unit norm, as one batch."""
        return self.model.embed_audio(waveforms.to(self.device)).float().cpu().numpy()

    @torch.inference_mode()
    def embed_texts(self, texts: list[str]) -> np.ndarray:
        """Texts -> float32 (n, embed_dim), unit norm."""
        tokens = self.tokenizer(texts, padding=True, truncation=True, max_length=77, return_tensors="pt")
        tokens = {name: tokens[name].to(self.device) for name in ("input_ids", "attention_mask")}
        return self.model.embed_tokens(tokens).float().cpu().numpy()
