"""The paper stack's models at full size with random weights: they cost as much time and memory as trained ones."""

import open_clip
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from v2a_utils.models.clap import AudioEncoder, Clap
from v2a_utils.models.clap_checkpoint import HEARING
from v2a_utils.models.clip import VisionEncoder

HTSAT_TINY = HEARING | {  # laion_clap, clap_module/model_configs/HTSAT-tiny.json and htsat.py
    "mel_bins": 64, "class_num": 527, "model_name": "tiny",
    "htsat": {"spec_size": 256, "patch_size": 4, "patch_stride": [4, 4], "embed_dim": 96, "depths": [2, 2, 6, 2],
              "num_heads": [4, 8, 16, 32], "window_size": 8},
}
ROBERTA = {"vocab_size": 100, "hidden_size": 768, "num_hidden_layers": 1, "max_position_embeddings": 514}  # a stub


def random_clip(layers: int = 12) -> VisionEncoder:
    """CLIP ViT-B/32 with random weights, or its first layers only; its text tower is a stub."""
    torch.manual_seed(0)
    config = open_clip.get_model_config("ViT-B-32-quickgelu")
    config["vision_cfg"]["layers"] = layers
    config["text_cfg"] |= {"layers": 1, "vocab_size": 100}
    return VisionEncoder(open_clip.CLIP(**config), open_clip.image_transform(224, is_train=False), None)


def random_clap() -> AudioEncoder:
    """CLAP's HTSAT-tiny with random weights; its text tower is a stub."""
    torch.manual_seed(0)
    clap = Clap({"audio_cfg": HTSAT_TINY, "text_cfg": ROBERTA, "joint_embed_shape": 512})
    return AudioEncoder(clap, range(ROBERTA["vocab_size"]))


def random_audioldm(
    joint: int = 512, unet: tuple = (128, 256, 384, 640), vae: tuple = (128, 256, 512), vocoder: int = 1024,
    layers: int = 2, groups: int = 32,
) -> tuple[UNet2DConditionModel, AutoencoderKL, SpeechT5HifiGan, DDIMScheduler]:
    """AudioLDM's parts with random weights, as diffusers configures them; the widths of AudioLDM-s by default."""
    return (
        UNet2DConditionModel(
            sample_size=128, in_channels=8, out_channels=8, layers_per_block=layers, block_out_channels=unet,
            down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * 3), norm_num_groups=groups,
            up_block_types=(*["CrossAttnUpBlock2D"] * 3, "UpBlock2D"), cross_attention_dim=unet,
            class_embed_type="simple_projection", class_embeddings_concat=True,
            projection_class_embeddings_input_dim=joint,
        ),
        AutoencoderKL(
            in_channels=1, out_channels=1, block_out_channels=vae, layers_per_block=layers, latent_channels=8,
            down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3, sample_size=512,
            norm_num_groups=groups, scaling_factor=0.9228,
        ),
        SpeechT5HifiGan(SpeechT5HifiGanConfig(
            model_in_dim=64, upsample_initial_channel=vocoder, upsample_rates=[5, 4, 2, 2, 2],
            upsample_kernel_sizes=[16, 16, 8, 4, 4], normalize_before=False,
        )),
        DDIMScheduler(1000, 0.0015, 0.0195, "scaled_linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1),
    )
