"""AudioLDM's own CLAP, from public checkpoints, and the check that it is the right one."""

import re
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.nn import functional as F
from transformers import AutoTokenizer, ClapTextModelWithProjection
from transformers.utils.logging import disable_progress_bar

from v2a_utils.data.files import whole_file
from v2a_utils.models.clap import AudioEncoder, Clap, check_vocabulary
from v2a_utils.models.weights import read_checkpoint, sha256

disable_progress_bar()  # loading takes a second
PREFIXES = ("cond_stage_model.model.", "module.", "")  # AudioLDM's checkpoint, laion_clap's, a bare one
HEARING = {  # every HTSAT of LAION-CLAP (laion_clap, clap_module/model_configs)
    "sample_rate": 48_000, "clip_samples": 480_000, "window_size": 1024, "hop_size": 480, "fmin": 50, "fmax": 14_000,
    "model_type": "HTSAT",
}
HTSAT_NAMES = {96: "tiny", 128: "base", 256: "large"}
PROMPTS = ("", "a dog barking", "rain falling on a tin roof", "church bells ringing", "a crowd laughs and applauds")
AGREEMENT = 0.99  # least cosine between two embeddings of one text
CHECKPOINT = "audioldm-full-s-v2.ckpt"  # AudioLDM's own, which holds its CLAP
NULL_FILE = "null_embedding.safetensors"
TEXT_TOWER = "text_encoder"  # CLAP's, in an AudioLDM folder
TEXTS_AT_ONCE = 64


def load_clap(path: Path, audioldm: Path, device: str = "cpu") -> AudioEncoder:
    """CLAP from AudioLDM's original checkpoint or one of laion_clap's, with the tokenizer of an AudioLDM folder.

    Sizes are inferred from the weights' shapes. ValueError names a file without a CLAP, with a fused one, or with
    another CLAP than this AudioLDM was trained with.
    """
    state = read_checkpoint(path)
    weights = next((found for prefix in PREFIXES if (found := _under(prefix, state))), None)
    if weights is None:
        raise ValueError(f"{path}: holds no CLAP (no audio_branch under {', '.join(filter(None, PREFIXES))} or alone)")
    if "audio_branch.patch_embed.proj.weight" not in weights:
        raise ValueError(f"{path}: the audio tower of its CLAP is not an HTSAT but another one (PANNs' CNN14, say), "
                         f"which AudioLDM was not trained with; give {CHECKPOINT} (Zenodo record 7698295)")
    if any("fusion" in name for name in weights):
        raise ValueError(f"{path}: holds a CLAP with fusion, which AudioLDM was not trained with; give one without")
    model = Clap(infer_config(weights))
    try:
        model.load_state_dict({name: weights[name].float() for name in model.state_dict()})
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"{path}: its CLAP is incomplete ({error})") from error
    encoder = AudioEncoder(model, AutoTokenizer.from_pretrained(audioldm / "tokenizer"), device)
    check_agreement(encoder, path, audioldm)
    return encoder


def _under(prefix: str, state: dict) -> dict[str, torch.Tensor]:
    """The weights under a prefix, which is removed from their names; none unless they are a CLAP's."""
    found = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    return found if any(name.startswith("audio_branch.") for name in found) else {}


def infer_config(weights: dict[str, torch.Tensor]) -> dict:
    """`Clap`'s configuration from the names and shapes of laion_clap's weights.

    Shapes do not show how many heads a RoBERTa has: 64 dimensions per head are assumed, as in every published one.
    """
    shape = {name: tuple(value.shape) for name, value in weights.items()}
    tables = {tuple(map(int, match.groups())): shape[name] for name in shape if (match := re.fullmatch(
        r"audio_branch\.layers\.(\d+)\.blocks\.(\d+)\.attn\.relative_position_bias_table", name))}
    layers = range(1 + max(layer for layer, _ in tables))
    patch = shape["audio_branch.patch_embed.proj.weight"]
    mels, classes = shape["audio_branch.bn0.weight"][0], shape["audio_branch.tscam_conv.weight"][0]
    htsat = {
        "spec_size": 256, "patch_size": patch[2], "patch_stride": list(patch[2:]), "embed_dim": patch[0],
        "depths": [sum(layer == number for layer, _ in tables) for number in layers],
        "num_heads": [tables[number, 0][1] for number in layers],
        "window_size": (int(tables[0, 0][0] ** 0.5) + 1) // 2,  # a table has (2 w - 1)^2 rows
    }
    text, width = "text_branch.embeddings.", shape["text_branch.pooler.dense.weight"][0]
    return {
        "joint_embed_shape": shape["audio_projection.2.weight"][0],
        "audio_cfg": HEARING | {"mel_bins": mels, "class_num": classes, "htsat": htsat,
                                "model_name": HTSAT_NAMES.get(patch[0], f"{patch[0]} wide")},
        "text_cfg": {
            "vocab_size": shape[f"{text}word_embeddings.weight"][0], "hidden_size": width,
            "num_hidden_layers": sum(name.endswith("intermediate.dense.bias") for name in shape),
            "num_attention_heads": width // 64,
            "intermediate_size": shape["text_branch.encoder.layer.0.intermediate.dense.weight"][0],
            "max_position_embeddings": shape[f"{text}position_embeddings.weight"][0],
            "type_vocab_size": shape[f"{text}token_type_embeddings.weight"][0],
            "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "layer_norm_eps": 1e-5,
        },
    }


@torch.inference_mode()
def audioldm_texts(folder: Path, texts: list[str]) -> np.ndarray:
    """Unit-norm embeddings (n, d) by the text tower of an AudioLDM folder, which is loaded for this call only.

    ValueError names a folder whose text tower or tokenizer cannot be read.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
        tower = ClapTextModelWithProjection.from_pretrained(folder / TEXT_TOWER, dtype=torch.float32).eval()
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{folder}: its text tower or tokenizer cannot be read ({reason}); `python -m v2a_utils fetch "
                         "--for sound` fetches them") from error
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
    with whole_file(extras / NULL_FILE) as temporary:
        save_file({"null_embedding": torch.from_numpy(null)}, temporary, {"text_encoder": made_by})
    return null


def _stored(path: Path) -> tuple[np.ndarray, str | None]:
    """The null embedding of a file, float32, and the SHA-256 of the text tower that made it, if it says."""
    with safe_open(path, "pt") as file:
        return file.get_tensor("null_embedding").float().numpy(), (file.metadata() or {}).get("text_encoder")
