"""AudioLDM's parts with random weights: at full size they cost as much time and memory as trained ones."""

from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig


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
