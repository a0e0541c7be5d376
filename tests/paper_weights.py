"""Makes a `paper` stack with random weights, in the key names, shape relations and file formats of the real ones.

The names come from the peers: CLIP is open_clip's, CLAP laion_clap's, its text tower transformers', UNet and VAE are
diffusers' own classes, so that our readers are held against them and not against our own. Small widths by default;
`full=True` has the sizes of CLIP ViT-B/32, HTSAT-tiny, RoBERTa base and AudioLDM-s.
"""

import importlib.util
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import open_clip
import torch
from random_audioldm import random_audioldm
from safetensors.torch import load_file, save_file
from soundworld import CLASSES
from tokenizers.pre_tokenizers import ByteLevel
from torch import nn
from transformers import ClapTextConfig, ClapTextModelWithProjection, RobertaConfig, RobertaModel

from v2a_utils.data.files import write_json
from v2a_utils.mappers.model import DiffusionMapper, RegressionMapper
from v2a_utils.mappers.recipes import RECIPES, build
from v2a_utils.mappers.registry import save_mapper
from v2a_utils.models.clap import CONFIGS, Clap
from v2a_utils.models.clip import Familiarity
from v2a_utils.models.networks import AudioCnn
from v2a_utils.models.weights import save_weights


@dataclass(frozen=True)
class Sizes:
    """Widths and depths of a paper stack."""

    joint: int = 32
    clip: tuple = (64, 1)  # ViT: width, layers
    clip_text: tuple = (32, 2, 1)  # width, heads, layers
    htsat: tuple = (8, [1, 1, 1, 1], [1, 2, 4, 8])  # width, depths, heads
    roberta: tuple = (768, 1, 128)  # width (laion_clap knows no other), layers, intermediate
    vocabulary: int = 262
    unet: tuple = (8, 16, 24, 40)
    vae: tuple = (8, 16, 32)
    vocoder: int = 32
    layers: int = 1  # of each block of UNet and VAE
    groups: int = 8


SMALL = Sizes()
FULL = Sizes(
    512, (768, 12), (512, 8, 12), (96, [2, 2, 6, 2], [4, 8, 16, 32]), (768, 12, 3072), 50_265,
    (128, 256, 384, 640), (128, 256, 512), 1024, 2, 32,
)


def make_paper(folder: Path, full: bool = False) -> dict[str, str]:
    """Write the whole stack into a folder; returns the environment variables that name its parts."""
    sizes = FULL if full else SMALL
    torch.manual_seed(0)
    clap = peers_clap(sizes)
    make_clip(folder / "clip", sizes)
    make_tokenizer(folder / "audioldm" / "tokenizer", sizes.vocabulary)
    make_audioldm(folder / "audioldm", clap, sizes)
    torch.save(audioldm_checkpoint(clap), folder / "audioldm.ckpt")
    make_clap(folder / "clap", clap, sizes)
    make_extras(folder / "extras", sizes, full)
    return places(folder)


def places(folder: Path) -> dict[str, str]:
    """The environment variables that name the parts of the stack in `folder`."""
    return {"V2A_STACK": "paper", "V2A_CLIP": str(folder / "clip"), "V2A_CLAP": str(folder / "clap"),
            "V2A_AUDIOLDM": str(folder / "audioldm"), "V2A_EXTRAS": str(folder / "extras")}


def clap_config(sizes: Sizes) -> dict:
    """AudioLDM's CLAP in other widths."""
    published = CONFIGS[96]
    return {"joint_embed_shape": sizes.joint, "text_cfg": roberta_config(sizes),
            "audio_cfg": published["audio_cfg"] | {"htsat": htsat_config(sizes)}}


def make_clap(folder: Path, clap: nn.Module, sizes: Sizes) -> None:
    """The same CLAP as our own folders have it: of other widths than the published one, it is no published file's."""
    make_tokenizer(folder, sizes.vocabulary)
    write_json(folder / "config.json", clap_config(sizes))
    ours = Clap(clap_config(sizes))
    ours.load_state_dict({name: clap.state_dict()[name] for name in ours.state_dict()})
    save_file(ours.state_dict(), folder / "model.safetensors")


def roberta_config(sizes: Sizes) -> dict:
    """Of CLAP's text tower, in transformers' words."""
    hidden, layers, intermediate = sizes.roberta
    return {
        "vocab_size": sizes.vocabulary, "hidden_size": hidden, "num_hidden_layers": layers,
        "num_attention_heads": hidden // 64, "intermediate_size": intermediate, "max_position_embeddings": 514,
        "type_vocab_size": 1, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "layer_norm_eps": 1e-5,
    }


def htsat_config(sizes: Sizes) -> dict:
    """Of CLAP's audio tower, in laion_clap's words."""
    width, depths, heads = sizes.htsat
    return {"spec_size": 256, "patch_size": 4, "patch_stride": [4, 4], "embed_dim": width, "depths": depths,
            "num_heads": heads, "window_size": 8}


def peers_clap(sizes: Sizes, model_type: str = "HTSAT") -> nn.Module:
    """laion_clap's own CLAP class with random weights, in other widths and without the hub."""
    peer = _peers_module("model")
    audio = json.loads((Path(peer.__file__).parent / "model_configs" / "HTSAT-tiny.json").read_text())["audio_cfg"]
    audio |= {"model_type": model_type} | ({"model_name": "Cnn14"} if model_type == "PANN" else {})
    tower = _peers_module("htsat").HTSAT_Swin_Transformer

    def htsat(config, enable_fusion, fusion_type):
        return tower(num_classes=config.class_num, config=config, **htsat_config(sizes))

    def roberta(name):
        return RobertaModel(RobertaConfig(**roberta_config(sizes)))

    text = {"context_length": 77, "vocab_size": 49_408, "width": 512, "heads": 8, "layers": 12, "model_type": "roberta"}
    features = 2048 if model_type == "PANN" else sizes.htsat[0] * 2 ** (len(sizes.htsat[1]) - 1)
    with (mock.patch.object(peer, "create_htsat_model", htsat),
          mock.patch.object(RobertaModel, "from_pretrained", roberta)):
        return peer.CLAP(features, audio, text, joint_embed_shape=sizes.joint).eval()


def _peers_module(name: str) -> ModuleType:
    """A file of laion_clap's clap_module, without its package, which would ask a hub for tokenizers."""
    if "peers_clap_module" not in sys.modules:
        folder = Path(importlib.util.find_spec("laion_clap").submodule_search_locations[0])
        package = sys.modules["peers_clap_module"] = ModuleType("peers_clap_module")
        package.__path__ = [str(folder / "clap_module")]
    return importlib.import_module(f"peers_clap_module.{name}")


def clap_state(clap: nn.Module) -> dict[str, torch.Tensor]:
    """A CLAP's weights, with what earlier versions of transformers kept beside them, as in the published files."""
    return clap.state_dict() | {"text_branch.embeddings.position_ids": torch.arange(514)[None]}


def audioldm_checkpoint(clap: nn.Module) -> dict:
    """What AudioLDM's original checkpoint holds: all three models in one state dict, and what its trainer noted."""
    others = {"model.diffusion_model.film_emb.weight": torch.zeros(4, clap.joint_embed_shape),
              "scale_factor": torch.ones(1), "first_stage_model.post_quant_conv.weight": torch.zeros(8, 8, 1, 1)}
    state = others | {f"cond_stage_model.model.{name}": value for name, value in clap_state(clap).items()}
    return {"state_dict": state, "epoch": 12, "global_step": 340, "pytorch-lightning_version": "1.7.7"}


def laion_checkpoint(clap: nn.Module) -> dict:
    """What laion_clap's checkpoints hold: names as of a parallel model, and scores as NumPy's numbers."""
    state = {f"module.{name}": value for name, value in clap_state(clap).items()}
    return {"state_dict": state, "epoch": 45, "name": "630k", "scores": [np.float64(0.89)], "optimizer": {"state": {}}}


def make_clip(folder: Path, sizes: Sizes) -> None:
    """A folder as CLIP ViT-B/32 lies on the hub: open_clip_config.json and open_clip_model.safetensors."""
    (width, layers), (text_width, text_heads, text_layers) = sizes.clip, sizes.clip_text
    config = {
        "embed_dim": sizes.joint, "quick_gelu": True,
        "vision_cfg": {"image_size": 224, "layers": layers, "width": width, "patch_size": 32},
        "text_cfg": {"context_length": 77, "vocab_size": 49_408, "width": text_width, "heads": text_heads,
                     "layers": text_layers},
    }
    preparing = {"mean": list(open_clip.OPENAI_DATASET_MEAN), "std": list(open_clip.OPENAI_DATASET_STD)}
    write_json(folder / "open_clip_config.json", {"model_cfg": config, "preprocess_cfg": preparing})
    save_file(open_clip.CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")


def make_tokenizer(folder: Path, size: int) -> None:
    """A byte-level RoBERTa tokenizer with one merge, filled up to `size` tokens, in all the files of the published one."""
    folder.mkdir(parents=True)
    marks = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokens = [*marks.values(), *sorted(ByteLevel.alphabet()), "Ġd", "<mask>"]
    tokens += [f"filler{number}" for number in range(size - len(tokens))]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    added = [{"id": vocabulary[token], "special": True, "content": token, "single_word": False, "lstrip": token == "<mask>",
              "rstrip": False, "normalized": False} for token in (*marks.values(), "<mask>")]
    spaces = {"add_prefix_space": False, "trim_offsets": True}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\nĠ d\n")
    write_json(folder / "special_tokens_map.json", marks | {"cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>"})
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "RobertaTokenizer", "model_max_length": 512})
    write_json(folder / "tokenizer.json", {  # merges as texts: so it was written then
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel"} | spaces, "decoder": {"type": "ByteLevel"} | spaces,
        "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0]} | spaces,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "", "fuse_unk": False, "vocab": vocabulary, "merges": ["Ġ d"]}})


def make_audioldm(folder: Path, clap: nn.Module, sizes: Sizes) -> None:
    """A folder as diffusers saves AudioLDMPipeline, its text tower being CLAP's."""
    parts = random_audioldm(sizes.joint, sizes.unet, sizes.vae, sizes.vocoder, sizes.layers, sizes.groups)
    for name, part in zip(("unet", "vae", "vocoder", "scheduler"), parts):
        part.save_pretrained(folder / name)
    text_tower(clap).save_pretrained(folder / "text_encoder")
    write_json(folder / "model_index.json", {
        "_class_name": "AudioLDMPipeline", "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "ClapTextModelWithProjection"],
        "tokenizer": ["transformers", "RobertaTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
        "vocoder": ["transformers", "SpeechT5HifiGan"],
    })
    age(folder)


OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}  # in the VAE's attention


def age(folder: Path) -> None:
    """Write names and settings as the published files have them, which earlier versions of the libraries wrote."""
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    for new, old in OLD_NAMES.items():
        state = {re.sub(rf"(attentions\.\d+)\.{re.escape(new)}\.", rf"\1.{old}.", name): value
                 for name, value in state.items()}
    assert any(".proj_attn." in name for name in state)
    save_file(state, path, {"format": "pt"})
    for part, changes in (("vocoder", {"model_type": "hifigan"}), ("text_encoder", {"layer_norm_eps": 1e-12})):
        written = json.loads((folder / part / "config.json").read_text())
        write_json(folder / part / "config.json", written | changes)


def text_tower(clap: nn.Module) -> ClapTextModelWithProjection:
    """CLAP's text tower as transformers' own class, which is how AudioLDM's folder holds it."""
    names = {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
             "max_position_embeddings", "type_vocab_size", "pad_token_id", "bos_token_id", "eos_token_id"}
    config = {name: value for name, value in clap.text_branch.config.to_dict().items() if name in names}
    tower = ClapTextModelWithProjection(ClapTextConfig(**config, projection_dim=clap.joint_embed_shape))
    tower.text_model.load_state_dict(clap.text_branch.state_dict(), strict=False)  # but for constants
    tower.text_projection.linear1.load_state_dict(clap.text_projection[0].state_dict())
    tower.text_projection.linear2.load_state_dict(clap.text_projection[2].state_dict())
    return tower


def make_extras(folder: Path, sizes: Sizes, full: bool) -> None:
    """Mappers, listeners and familiarity, as our own training writes them."""
    joint = sizes.joint
    save_mapper(RegressionMapper(joint, joint), folder / "mappers" / "regression")
    small = DiffusionMapper(joint, joint, width=32, depth=1)
    save_mapper(build(RECIPES["paper"]["diffusion"], joint, joint) if full else small, folder / "mappers" / "diffusion")
    for name, outputs in (("tagger", len(CLASSES)), ("wav2clip", joint)):
        config = {"sample_rate": 16_000, "n_fft": 512, "hop": 160, "mels": 64, "widths": [8, 8], "features": 16,
                  "outputs": outputs, "names": CLASSES if name == "tagger" else []}
        save_weights(AudioCnn(config), folder / name / "model.safetensors")
        write_json(folder / name / "config.json", config)
    rows = nn.functional.normalize(torch.randn(200, joint), dim=-1).numpy()
    Familiarity.fit(rows[:100], rows[100:]).save(folder / "familiarity.safetensors")


def make_framewise(folder: Path) -> None:
    """A listener of FAD in the extras of the stack in `folder`; a real one is fetched, and of its own class."""
    config = {"sample_rate": 16_000, "n_fft": 512, "hop": 160, "mels": 64, "widths": [8, 8], "features": 16, "outputs": 1,
              "names": []}
    save_weights(AudioCnn(config), folder / "extras" / "vggish" / "model.safetensors")
    write_json(folder / "extras" / "vggish" / "config.json", config)
