"""CLAP: sounds and texts -> embeddings in one space; AudioLDM's own, from its public checkpoint, and the mini stack's.

It is laion_clap's HTSAT audio tower with a RoBERTa text tower, its parameters named as in laion_clap's checkpoints.
`import laion_clap` itself asks a model hub for three tokenizers, so only its tower code is imported.
"""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.nn import functional as F

from v2a_utils.data.audio import fit_length, resample
from v2a_utils.data.files import DATA, complaint, sha256
from v2a_utils.models.mel import LogMelPower
from v2a_utils.models.weights import load_weights, read_checkpoint, without_gaps, write_tensors
from v2a_utils.options import CHECKPOINT, TEXT_TOWER

PREFIXES = ("cond_stage_model.model.", "module.", "")  # AudioLDM's checkpoint, laion_clap's, a bare one
PROMPTS = ("", "a dog barking", "rain falling on a tin roof", "church bells ringing", "a crowd laughs and applauds")
AGREEMENT = 0.99  # least cosine between two embeddings of one text
NULL_FILE = "null_embedding.safetensors"
TEXTS_AT_ONCE = 64
PATCHES = "audio_branch.patch_embed.proj.weight"  # of an HTSAT; its length is the tower's width


# of LAION-CLAP's HTSAT (clap_module/model_configs) with RoBERTa base, by the width of the audio tower: AudioLDM s and l
# speak the first, m the second
CONFIGS = {int(width): config for width, config in json.loads((DATA / "tables/clap.json").read_text()).items()}


def _htsat_class():
    """The class of laion_clap's audio tower, from laion_clap's own file.

    The file is imported as part of a package of ours, since laion_clap's would ask a hub for tokenizers and load a
    machine-learning library for its losses. In this copy the front end is left out: `LogMelPower` takes its place.
    """
    if "v2a_clap_towers" not in sys.modules:
        found = importlib.util.find_spec("laion_clap")  # imports nothing
        assert found is not None and found.origin is not None
        package = ModuleType("v2a_clap_towers")
        package.__path__ = [str(Path(found.origin).parent / "clap_module")]
        sys.modules[package.__name__] = package
    htsat = importlib.import_module("v2a_clap_towers.htsat")
    htsat.Spectrogram = htsat.LogmelFilterBank = nn.Identity
    return htsat.HTSAT_Swin_Transformer


def _forget_constants(tower: nn.Module) -> None:
    """Keep relative window positions and masks out of weight files: they follow from the tower's shape."""
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
        self.audio_branch.spectrogram_extractor = LogMelPower(
            audio.sample_rate, audio.window_size, audio.hop_size, audio.mel_bins, audio.fmin, audio.fmax)
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

    When files are missing, transformers silently returns an empty tokenizer.
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
        self.sample_rate, self.clip_samples, self.embed_dim = model.sample_rate, model.clip_samples, model.embed_dim

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> "AudioEncoder":
        """From a folder with config.json, model.safetensors and the tokenizer's files."""
        from transformers import AutoTokenizer

        folder = Path(folder)
        model = Clap(json.loads((folder / "config.json").read_text()))
        load_weights(model, folder / "model.safetensors")
        return cls(model, AutoTokenizer.from_pretrained(folder), device)

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

    def forget_texts(self) -> None:
        """Drop the text tower, four fifths of CLAP's memory: from now on it embeds sounds only."""
        self.model.text_branch = None

    @torch.inference_mode()
    def embed_texts(self, texts: list[str]) -> np.ndarray:
        """Texts -> float32 (n, embed_dim), unit norm. ValueError after `forget_texts`."""
        if self.model.text_branch is None:
            raise ValueError("this CLAP's text tower was let go to save memory; load the stack again to embed texts")
        tokens = self.tokenizer(texts, padding=True, truncation=True, max_length=77, return_tensors="pt")
        tokens = {name: tokens[name].to(self.device) for name in ("input_ids", "attention_mask")}
        return self.model.embed_tokens(tokens).float().cpu().numpy()


# ------------------------------------------------------------------------------------------------- AudioLDM's own CLAP


def load_clap(path: Path, audioldm: Path, device: str = "cpu") -> AudioEncoder:
    """CLAP from AudioLDM's original checkpoint or one of laion_clap's, with the tokenizer of an AudioLDM folder.

    ValueError names a file without a CLAP of CONFIGS, or with another CLAP than this AudioLDM was trained with.
    """
    from transformers import AutoTokenizer

    state = read_checkpoint(path)
    try:
        prefix = next((prefix for prefix in PREFIXES if f"{prefix}{PATCHES}" in state), "")
        model = Clap(CONFIGS[len(state[f"{prefix}{PATCHES}"])])
        model.load_state_dict({name: state[f"{prefix}{name}"].float() for name in model.state_dict()})
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"{path}: holds no CLAP that AudioLDM was trained with, an HTSAT without fusion and RoBERTa "
                         f"({complaint(error)}); give {CHECKPOINT} (Zenodo record 7698295)") from error
    encoder = AudioEncoder(model, AutoTokenizer.from_pretrained(audioldm / "tokenizer"), device)
    check_agreement(encoder, path, audioldm)
    return encoder


@torch.inference_mode()
def audioldm_texts(folder: Path, texts: list[str]) -> np.ndarray:
    """Unit-norm embeddings (n, d) by the text tower of an AudioLDM folder, which is loaded for this call only.

    ValueError names a folder whose text tower or tokenizer cannot be read.
    """
    from transformers import AutoTokenizer, ClapTextModelWithProjection
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # loading takes a second
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
        tower = without_gaps(ClapTextModelWithProjection.from_pretrained(
            folder / TEXT_TOWER, dtype=torch.float32, output_loading_info=True)).eval()
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"{folder}: its text tower or tokenizer cannot be read ({complaint(error)}); `python -m "
                         "v2a_utils fetch --for sound` fetches them") from error
    check_vocabulary(tokenizer, tower.config.vocab_size)
    rows = []
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        tokens = tokenizer(texts[start : start + TEXTS_AT_ONCE], padding=True, truncation=True, max_length=77,
                           return_tensors="pt")
        rows.append(F.normalize(tower(tokens["input_ids"], tokens["attention_mask"]).text_embeds, dim=-1).numpy())
    return np.concatenate(rows)


def check_agreement(clap: AudioEncoder, path: Path, audioldm: Path) -> None:
    """ValueError unless a CLAP embeds PROMPTS as the text tower of an AudioLDM folder does."""
    worst = float((clap.embed_texts(list(PROMPTS)) * audioldm_texts(audioldm, list(PROMPTS))).sum(1).min())
    if worst < AGREEMENT:
        raise ValueError(
            f"{path}: this is not the CLAP that {audioldm} was trained with: their embeddings of the same text have a "
            f"cosine of only {worst:.2f} ({AGREEMENT} is needed). Every CLAP has a space of its own, so a mapper "
            "trained on this one would steer AudioLDM to noise without any error. Give AudioLDM's own checkpoint "
            f"({CHECKPOINT}, Zenodo record 7698295)"
        )


def read_null(audioldm: Path, extras: Path) -> np.ndarray:
    """The embedding (d,) of the empty text, AudioLDM's unconditional condition.

    It is read from the AudioLDM folder or from `extras`; if neither has it, the folder's text tower computes it, and it
    is kept in `extras` with that tower's SHA-256, so that generating needs no text tower later.
    """
    if (audioldm / NULL_FILE).is_file():
        return _stored(audioldm / NULL_FILE)[0]
    tower = next((path for name in ("model.safetensors", "pytorch_model.bin")
                  if (path := audioldm / TEXT_TOWER / name).is_file()), None)
    made_by = sha256(tower) if tower else None
    if (extras / NULL_FILE).is_file():
        null, kept_from = _stored(extras / NULL_FILE)
        if made_by in (kept_from, None):
            return null
    if tower is None:
        raise ValueError(f"{audioldm}: has neither {NULL_FILE} nor a {TEXT_TOWER} to make it with; `python -m "
                         "v2a_utils fetch --for sound` fetches a whole folder")
    null = audioldm_texts(audioldm, [""])[0]
    write_tensors(extras / NULL_FILE, {"null_embedding": torch.from_numpy(null)}, {"text_encoder": made_by})
    return null


def _stored(path: Path) -> tuple[np.ndarray, str | None]:
    """The null embedding of a file, float32, and the SHA-256 of the text tower that made it, if it says."""
    with safe_open(path, "pt") as file:
        return file.get_tensor("null_embedding").float().numpy(), (file.metadata() or {}).get("text_encoder")
