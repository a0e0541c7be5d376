"""Training the mini stack, part by part; what is finished is not trained again.

Order: what each part needs comes before it. CLIP and CLAP never see each other; only the mappers and the
Wav2CLIP-like encoder (which only measures) see embeddings of pictures and sounds that belong together.
"""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from multiprocessing import Process
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import load_file, save_file
from soundworld import SAMPLE_RATE, Scene, events, make_scene, synthesise
from torchvision.transforms.functional import to_pil_image
from tqdm.auto import tqdm
from v2a_pretraining import backbones, encoders, generator
from v2a_pretraining.augment import augment_pictures
from v2a_pretraining.clock import Clock
from v2a_pretraining.data import SIZES, Rendered, render

from v2a_utils.data.files import write_json, write_sums
from v2a_utils.data.sources import soundworld
from v2a_utils.mappers.bridge import VOCABULARIES, weights_sha256
from v2a_utils.mappers.recipes import RECIPES, build
from v2a_utils.mappers.registry import save_mapper, words_bridge
from v2a_utils.mappers.training import TrainConfig, train_mapper
from v2a_utils.models.clap import NULL_FILE, AudioEncoder
from v2a_utils.models.clip import Familiarity, VisionEncoder
from v2a_utils.stacks.extraction import SHIPPED, embed
from v2a_utils.stacks.places import stack_config
from v2a_utils.stacks.stack import Stack, load_mini_clip

CONFIGS = {
    "tagger": TrainConfig(steps=800, batch_size=64, learning_rate=2e-3, warmup=50),
    "clip": TrainConfig(steps=3000, batch_size=128, learning_rate=1e-3, weight_decay=0.1),
    "clip_styles": TrainConfig(steps=1500, batch_size=128, learning_rate=7e-4, weight_decay=0.1),
    "clip_fresh": TrainConfig(steps=2400, batch_size=128, learning_rate=7e-4, weight_decay=0.1, ema=0.998),
    "clap": TrainConfig(steps=2000, batch_size=128, learning_rate=1e-3, weight_decay=0.05),
    "vae": TrainConfig(steps=2400, batch_size=8, learning_rate=1.5e-3, warmup=50),
    "decoder": TrainConfig(steps=12_000, batch_size=8, learning_rate=1e-3, warmup=50, ema=0.995, muon=True),
    "vocoder": TrainConfig(steps=4000, batch_size=8, learning_rate=2e-3, warmup=50, ema=0.995, muon=True),
    "unet": TrainConfig(steps=1900, batch_size=48, learning_rate=8e-4, ema=0.995),
    "unet_fresh": TrainConfig(steps=7500, batch_size=48, learning_rate=1e-3, ema=0.998, muon=True),
    "adapter": TrainConfig(steps=3000, batch_size=32, learning_rate=1.5e-3, ema=0.998),
    "wav2clip": TrainConfig(steps=500, batch_size=64, learning_rate=2e-3, warmup=50),
} | {kind: RECIPES["mini"][kind].train for kind in ("regression", "regression_deep", "diffusion")}
PARTS = tuple(CONFIGS)
TIMES = "TIMES.json"  # beside the weights: what each part took
FRESH_SEEDS = (22, 23)  # twice as many scenes again: pictures for the last of CLIP's legs, sounds for the UNet's
TEMPERATURE = 1.8  # of the diffusion mapper's starting noise: data/mini/REPORT.md, "The mapper's spread"
UNPAIRED, UNSEEN_SEED = 2000, 21  # sounds for the bridge over words, of scenes whose pictures are never drawn
EMBEDDED = {"train": 3000, "val": 2000, "test": 2000}  # scenes whose embeddings are shipped: what notebooks begin with
MODEL_INDEX = {
    "_class_name": "AudioLDMPipeline", "_diffusers_version": diffusers.__version__,
    "scheduler": ["diffusers", "DDIMScheduler"], "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"], "vocoder": ["v2a_utils.models.vocoder", "LearnedVocoder"],
    "text_encoder": [None, None], "tokenizer": [None, None],
}


class Pretraining:
    """One pretraining run: rendered data and checkpoints in `work`, finished parts in `out`."""

    def __init__(self, out: Path, work: Path, seed: int = 0, device: str = "cpu", shrink: int = 1):
        self.out, self.work, self.seed, self.device, self.shrink = out, work, seed, device, shrink

    def run(self, parts: tuple[str, ...] = PARTS) -> None:
        """Train those of `parts` that are not finished, in order; after the last one write times and sums."""
        self._check_settings()
        clock = Clock(self.work / TIMES)
        with clock.running("rendering"):
            data = render("train", self.work / "data", self.seed, self.shrink)
        if "unet_fresh" in parts and not self._mark("unet_fresh").is_file():  # rendered while other parts learn
            Process(target=_render_fresh, args=(self.work / "data", self.shrink), daemon=True).start()
        for part in parts:
            if not self._mark(part).is_file():
                with clock.running(part):
                    getattr(self, f"_train_{part}")(data, self._config(part))
                self._mark(part).touch()
                self._mark("finishing").unlink(missing_ok=True)
        if all(self._mark(part).is_file() for part in PARTS) and not self._mark("finishing").is_file():
            with clock.running("finishing"):
                self._finish()
            write_json(self.out / TIMES, clock.read())
            write_sums(self.out)
            self._mark("finishing").touch()

    def _check_settings(self) -> None:
        """What lies in `work` was made with one seed, size and recipe; another run must not take it for its own."""
        recipe = {part: asdict(config) | {"betas": list(config.betas)} for part, config in CONFIGS.items()}
        path, settings = self.work / "settings.json", {"seed": self.seed, "shrink": self.shrink, "recipe": recipe}
        if path.is_file() and json.loads(path.read_text()) != settings:
            raise ValueError(f"{self.work}: holds a run with another seed, size or recipe; delete it or choose another "
                             "--work")
        write_json(path, settings)

    def _mark(self, part: str) -> Path:
        return self.work / f"{part}.done"

    def _config(self, part: str) -> TrainConfig:
        config, examples = CONFIGS[part], SIZES["train"] // self.shrink
        return replace(config, steps=max(config.steps // self.shrink, 2), seed=self.seed,
                       batch_size=max(min(config.batch_size, examples), 2))

    def _checkpoint(self, part: str) -> Path:
        return self.work / f"{part}.pt"

    def _train_tagger(self, data: Rendered, config: TrainConfig) -> None:
        mels = self._trunk_log_mels(data)
        backbones.train_tagger(mels, data, self.out / "tagger", self._checkpoint("tagger"), config, self.device)

    def _train_clip(self, data: Rendered, config: TrainConfig) -> None:
        encoders.train_clip([data], self.out / "clip", self._checkpoint("clip"), config, self.device)

    def _train_clip_styles(self, data: Rendered, config: TrainConfig) -> None:
        checkpoint = self._checkpoint("clip_styles")
        encoders.train_clip([data], self.out / "clip", checkpoint, config, self.device, "styles")

    def _train_clip_fresh(self, data: Rendered, config: TrainConfig) -> None:
        """CLIP goes on with pictures that it has not seen, in stronger styles."""
        fresh = [render("train", self.work / "data", seed, self.shrink, kinds=("pictures",)) for seed in FRESH_SEEDS]
        checkpoint = self._checkpoint("clip_fresh")
        encoders.train_clip([data, *fresh], self.out / "clip", checkpoint, config, self.device, "fresh")

    def _train_clap(self, data: Rendered, config: TrainConfig) -> None:
        encoders.train_clap(data, self.out / "clap", self._checkpoint("clap"), config, self.device)

    def _train_vae(self, data: Rendered, config: TrainConfig) -> None:
        generator.train_vae(data, self.out / "audioldm" / "vae", self._checkpoint("vae"), config, self.device)

    def _train_decoder(self, data: Rendered, config: TrainConfig) -> None:
        folder = self.out / "audioldm" / "vae"
        generator.train_decoder(self.latents(data), data, folder, self._checkpoint("decoder"), config, self.device)

    def _train_vocoder(self, data: Rendered, config: TrainConfig) -> None:
        folder = self.out / "audioldm"
        generator.train_vocoder(self.latents(data), data, folder / "vae", folder / "vocoder",
                                self._checkpoint("vocoder"), config, self.device)
        write_json(folder / "model_index.json", MODEL_INDEX)  # which names the vocoder's class

    def _train_unet(self, data: Rendered, config: TrainConfig) -> None:
        folder = self.out / "audioldm"
        null = self._audio_encoder().embed_texts([""])[0]
        generator.train_unet(self.latents(data), self._audio_embeddings(data), null, folder, self._checkpoint("unet"),
                             config, self.device)
        save_file({"null_embedding": torch.from_numpy(null)}, folder / NULL_FILE)

    def _train_unet_fresh(self, data: Rendered, config: TrainConfig) -> None:
        """The UNet goes on with scenes it has not seen: their sounds cost less than what it learns from them."""
        folder = self.out / "audioldm"
        latents, sounds = (np.concatenate(parts) for parts in zip(*map(self._fresh, FRESH_SEEDS)))
        null = load_file(folder / NULL_FILE)["null_embedding"].numpy()
        generator.train_unet(latents, sounds, null, folder, self._checkpoint("unet_fresh"), config, self.device,
                             go_on=True)

    def _train_adapter(self, data: Rendered, config: TrainConfig) -> None:
        """Of the sounds of the first fresh seed."""
        seed = FRESH_SEEDS[0]
        latents, sounds = self._fresh(seed)
        onsets = self._cached(f"onsets_{seed}", lambda: _onsets([make_scene("train", index, seed)
                                                                 for index in range(len(latents))]))
        generator.train_adapter(latents, sounds, onsets, self.out / "audioldm", self._checkpoint("adapter"), config,
                                self.device)

    def _fresh(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Latents and embeddings of a seed's sounds, which themselves need not stay in memory."""
        data = render("train", self.work / "data", seed, self.shrink, kinds=("sounds",))
        return self.latents(data, f"latents_{seed}"), self._audio_embeddings(data, f"sounds_{seed}")

    def _train_wav2clip(self, data: Rendered, config: TrainConfig) -> None:
        mels, pictures = self._trunk_log_mels(data), self._picture_embeddings(data)
        backbones.train_wav2clip(mels, pictures, self.out / "wav2clip", self._checkpoint("wav2clip"), config,
                                 self.device)

    def _train_regression(self, data: Rendered, config: TrainConfig) -> None:
        self._train_mapper("regression", data, config)

    def _train_regression_deep(self, data: Rendered, config: TrainConfig) -> None:
        self._train_mapper("regression_deep", data, config)

    def _train_diffusion(self, data: Rendered, config: TrainConfig) -> None:
        self._train_mapper("diffusion", data, config, temperature=TEMPERATURE)

    def _train_mapper(self, kind: str, data: Rendered, config: TrainConfig, **sizes) -> None:
        """Of every picture as it is and in another style, so that a style that CLIP does not know misleads it less."""
        styled = self._by_clip("styled_pictures", lambda encoder: embed_styled(encoder, data, self.seed))
        visual = np.concatenate([self._picture_embeddings(data), styled])
        audio, recipe = np.concatenate([self._audio_embeddings(data)] * 2), RECIPES["mini"][kind]
        mapper = build(replace(recipe, sizes=recipe.sizes | sizes, train=config), visual.shape[1], audio.shape[1])
        train_mapper(mapper, visual, audio, config, self._checkpoint(kind), self.device)
        save_mapper(mapper, self.out / "mappers" / kind, overwrite=True)

    def _finish(self) -> None:
        """What is fitted rather than trained: which pictures are familiar, the bridge, the shipped embeddings."""
        train = self._picture_embeddings(render("train", self.work / "data", self.seed, self.shrink))
        val = render("val", self.work / "data", self.seed, self.shrink)
        familiarity = Familiarity.fit(train, embed_pictures(self._vision_encoder(), val))
        familiarity.save(self.out / "familiarity.safetensors")
        stack = Stack(replace(stack_config("mini"), clip=self.out / "clip", clap=self.out / "clap", extras=self.out,
                              checked=False), self.device)
        self._write_bridge(stack)
        for split, count in EMBEDDED.items():
            embed(soundworld(split, max(count // self.shrink, 2)), stack, self.out / SHIPPED / split, resume=True)

    def _write_bridge(self, stack: Stack) -> None:
        """The bridge over SoundWorld's sentences and sounds of scenes that no picture was drawn of."""
        scenes = (make_scene("train", index, UNSEEN_SEED) for index in range(max(UNPAIRED // self.shrink, 2)))
        sounds = stack.audio.embed_audio([synthesise(scene) for scene in scenes], SAMPLE_RATE)
        save_mapper(words_bridge(stack, VOCABULARIES / "soundworld.txt", sounds), self.out / "mappers" / "words",
                    overwrite=True)

    def _vision_encoder(self) -> VisionEncoder:
        return load_mini_clip(self.out / "clip", self.device)

    def _audio_encoder(self) -> AudioEncoder:
        return AudioEncoder.load(self.out / "clap", self.device)

    def _picture_embeddings(self, data: Rendered) -> np.ndarray:
        return self._by_clip("pictures", lambda encoder: embed_pictures(encoder, data))

    def _by_clip(self, name: str, embed: Callable[[VisionEncoder], np.ndarray]) -> np.ndarray:
        """What CLIP makes of all pictures, kept for these weights of it, which several parts change."""
        weights = weights_sha256(self.out / "clip")[:12]
        return self._cached(f"{name}-{weights}", lambda: embed(self._vision_encoder()))

    def _audio_embeddings(self, data: Rendered, name: str = "sounds") -> np.ndarray:
        return self._cached(name, lambda: embed_sounds(self._audio_encoder(), data))

    def _trunk_log_mels(self, data: Rendered) -> np.ndarray:
        return self._cached("listener_mels", lambda: backbones.trunk_log_mels(data))

    def latents(self, data: Rendered, name: str = "latents") -> np.ndarray:
        """Scaled VAE latents of all sounds, float16."""
        vae = AutoencoderKL.from_pretrained(self.out / "audioldm" / "vae", torch_dtype=torch.float32)

        def compute() -> np.ndarray:
            return generator.encode_all(vae, generator.all_log_mels(data), self.device).numpy()

        return self._cached(name, compute)

    def _cached(self, name: str, compute) -> np.ndarray:
        """An array that several parts need, computed once."""
        path = self.work / f"{name}.npy"
        if not path.is_file():
            temporary = self.work / f".{name}.npy"
            np.save(temporary, compute())
            temporary.replace(path)
        return np.load(path)


def _onsets(scenes: list[Scene]) -> np.ndarray:
    """When the things of scenes begin to sound, (n, most) in s, NaN behind the last."""
    found = [[event.seconds for event in events(scene)] for scene in tqdm(scenes, "onsets")]
    most = max(map(len, found))
    return np.array([times + [np.nan] * (most - len(times)) for times in found])


def _render_fresh(folder: Path, shrink: int) -> None:
    """Render what the longer part of the UNet's training needs, out of the way of what runs beside."""
    os.nice(10)
    for seed in FRESH_SEEDS:
        render("train", folder, seed, shrink, workers=1, kinds=("sounds",))


def embed_pictures(encoder: VisionEncoder, data: Rendered) -> np.ndarray:
    """CLIP embeddings of all pictures, (n, d)."""
    starts = tqdm(range(0, len(data.pictures), 256), "embed pictures")
    return np.concatenate([
        encoder.embed_images([Image.fromarray(picture) for picture in data.pictures[start : start + 256]])
        for start in starts
    ])


def embed_styled(encoder: VisionEncoder, data: Rendered, seed: int) -> np.ndarray:
    """CLIP embeddings of all pictures, each in another style (`augment_pictures`), (n, d)."""
    generator = torch.Generator().manual_seed(seed)

    def styled(pictures: np.ndarray) -> list[Image.Image]:
        shrunk = encoders.shrunk(pictures, encoders.CLIP_CONFIG["vision_cfg"]["image_size"]).float() / 255
        none_coloured = torch.zeros(len(shrunk), dtype=torch.bool)
        return [to_pil_image(each) for each in augment_pictures(shrunk, none_coloured, "fresh", generator)]

    return np.concatenate([encoder.embed_images(styled(data.pictures[start : start + 256]))
                           for start in tqdm(range(0, len(data.pictures), 256), "embed other styles")])


def embed_sounds(encoder: AudioEncoder, data: Rendered) -> np.ndarray:
    """CLAP embeddings of all sounds, (n, d)."""
    starts = tqdm(range(0, len(data.sounds), 256), "embed sounds")
    return np.concatenate([
        encoder.embed_audio(list(data.waveforms(slice(start, start + 256))), SAMPLE_RATE) for start in starts
    ])
