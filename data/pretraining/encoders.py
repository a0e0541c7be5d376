"""Training the mini CLIP (pictures and captions) and the mini CLAP (sounds and captions), each by itself."""

import gzip
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from soundworld import CLASSES, Scene
from soundworld.captions import (
    COLOURS,
    COUNTS,
    DISTANCES,
    SIZES,
    class_prompt,
    colour_word,
    grade,
    noun,
    picture_caption,
    sound_caption,
    vocabulary,
    with_article,
)
from soundworld.figures import body_colour
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from torch import nn
from torch.nn import functional as F
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import resize
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerFast
from v2a_pretraining.augment import MixStyle, augment_log_mels, augment_pictures
from v2a_pretraining.data import Rendered

from v2a_utils.data.files import write_json
from v2a_utils.mappers.model import info_nce
from v2a_utils.mappers.training import TrainConfig, fit
from v2a_utils.models.clap import Clap
from v2a_utils.models.weights import load_weights, save_weights
from v2a_utils.stacks.places import MINI_CLIP

VARIANTS = 4  # wordings of each caption
EMBED_DIM = 64
CLIP_CONFIG = {
    "embed_dim": EMBED_DIM,
    # a ResNet tower, as CLIP's RN50: with so few pictures it learns far faster than a vision transformer
    "vision_cfg": {"image_size": 96, "layers": [1, 1, 1, 1], "width": 24, "head_width": 48},
    "text_cfg": {"context_length": 40, "vocab_size": 0, "width": 96, "heads": 4, "layers": 2},
}
CLAP_CONFIG = {
    "joint_embed_shape": EMBED_DIM,
    "audio_cfg": {
        "sample_rate": 16_000, "clip_samples": 40_800, "window_size": 1024, "hop_size": 160, "mel_bins": 64,
        "fmin": 50, "fmax": 8000, "class_num": 20, "model_type": "HTSAT", "model_name": "mini",
        # 40,800 samples are 256 frames: HTSAT wants at most spec_size * (spec_size / mel_bins) of them
        "htsat": {"spec_size": 128, "patch_size": 8, "patch_stride": [8, 8], "embed_dim": 64, "depths": [2, 2, 2],
                  "num_heads": [2, 4, 8], "window_size": 8, "drop_path_rate": 0.0},
    },
    "text_cfg": {"vocab_size": 0, "hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
                 "intermediate_size": 384, "max_position_embeddings": 82, "type_vocab_size": 1,
                 "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "layer_norm_eps": 1e-5},
}


def train_clip(parts: Sequence[Rendered], out: Path, checkpoint: Path, config: TrainConfig, device: str,
               stage: str = "plain") -> list[float]:
    """Train CLIP on pictures and captions, and write it into `out`; a later `stage` of STAGES goes on from there.

    Styles come second: a tower that knows its classes learns from them, one that begins with them learns little.
    """
    bpe = write_bpe(out / "bpe_vocab.txt.gz")
    tokenizer = SimpleTokenizer(bpe_path=str(bpe), context_length=CLIP_CONFIG["text_cfg"]["context_length"])
    model_cfg = CLIP_CONFIG | {"text_cfg": CLIP_CONFIG["text_cfg"] | {"vocab_size": tokenizer.vocab_size}}
    scenes = [scene for part in parts for scene in part.scenes]
    captions = [[picture_caption(scene, v) for v in range(VARIANTS)] for scene in tqdm(scenes, "captions")]
    tokens = torch.stack([tokenizer(wordings) for wordings in captions])
    coloured = torch.tensor([[bool(COLOURS.keys() & text.split()) for text in wordings] for wordings in captions])
    pictures = torch.cat([shrunk(part.pictures, CLIP_CONFIG["vision_cfg"]["image_size"]) for part in parts])
    prompts = tokenizer([class_prompt(name, "picture") for name in CLASSES])
    targets = torch.from_numpy(np.concatenate([part.targets() for part in parts]))
    details = Details(scenes, tokenizer)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in
                 (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))

    def loss_of(model, rows, generator):
        variant = torch.randint(VARIANTS, (len(rows),), generator=generator)
        images = augment_pictures(pictures[rows].float() / 255, coloured[rows, variant], stage, generator)
        images = ((images - mean) / std).to(device, memory_format=torch.channels_last)
        if stage == "fresh":
            styles.draw(~coloured[rows, variant], generator)
        seen, read = model.encode_image(images), partial(_read, model)
        contrast = _contrast(seen, read(tokens[rows, variant].to(device)), model.logit_scale)
        named = _name(seen, read(prompts.to(device)), targets[rows].to(device))
        return contrast + named + details.loss(read, seen, rows, coloured[rows, variant], generator)

    torch.manual_seed(config.seed)
    model = open_clip.CLIP(**model_cfg).to(memory_format=torch.channels_last)  # twice as fast on a CPU
    styles = MixStyle([model.visual.layer1, model.visual.layer2] if stage == "fresh" else [])
    weights = out / "open_clip_model.safetensors"
    if stage != "plain":
        load_weights(model, weights)
    losses = fit(model, loss_of, len(pictures), config, checkpoint, f"CLIP, {stage}", device)
    save_weights(model, weights)
    write_json(out / f"{MINI_CLIP}.json", model_cfg)
    return losses


def _read(model: open_clip.CLIP, tokens: torch.Tensor) -> torch.Tensor:
    """`encode_text` for tokens (n, length), but without the padding, which causal attention never looks at.

    Most captions fill a third of the length; without the rest a step of training takes two thirds of the time.
    """
    ends = tokens.argmax(1)  # the end of a text has the highest number
    length = int(ends.max()) + 1
    read = model.token_embedding(tokens[:, :length]) + model.positional_embedding[:length]
    read = model.ln_final(model.transformer(read, attn_mask=model.attn_mask[:length, :length].contiguous()))
    return read[torch.arange(len(read)), ends] @ model.text_projection


class Details:
    """Captions that differ in one word: which colour, size, distance or number has the thing in the picture?

    Class, place, light and style tell a batch's captions apart; without negatives like these a tower learns next to
    nothing of colour (after NegCLIP, arXiv 2210.01936, with every word of a scale as a negative at once).
    """

    KINDS = ("colour", "colour", "size", "distance", "count")  # one is drawn for each batch

    def __init__(self, scenes: list[Scene], tokenizer: SimpleTokenizer):
        things = [scene.things[0] if len(scene.things) == 1 else None for scene in scenes]
        told = {
            "colour": (list(COLOURS), lambda thing: colour_word(body_colour(thing.name, thing.hue))),
            "size": (SIZES, lambda thing: grade(SIZES, thing.size)),
            "distance": (DISTANCES, lambda thing: grade(DISTANCES, thing.distance)),
            "count": (COUNTS, lambda thing: COUNTS[thing.count - 1]),
        }
        self.classes = torch.tensor([CLASSES.index(scene.label) for scene in scenes])
        self.prompts, self.answers = {}, {}
        for kind, (words, word_of) in told.items():
            texts = [_detail(name, kind, word) for name in CLASSES for word in words]
            self.prompts[kind] = tokenizer(texts).view(len(CLASSES), len(words), -1)
            # of two kinds of things no single word is true: -100 is what cross-entropy leaves out
            self.answers[kind] = torch.tensor([words.index(word_of(thing)) if thing else -100 for thing in things])

    def loss(self, read: Callable[[torch.Tensor], torch.Tensor], seen: torch.Tensor, rows: np.ndarray,
             coloured: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Cross-entropy of the true word among all of its scale, for pictures `rows` embedded as `seen` (batch, d).

        `read` embeds tokens (n, length).
        Pictures whose colours were changed, since their caption names none (not `coloured`), are not asked for them.
        """
        kind = self.KINDS[int(torch.randint(len(self.KINDS), (1,), generator=generator))]
        prompts, answers = self.prompts[kind].to(seen.device), self.answers[kind][rows]
        if kind == "colour":
            answers = torch.where(coloured, answers, -100)
        texts = F.normalize(read(prompts.flatten(0, 1)).float(), dim=-1).view(*prompts.shape[:2], -1)
        own = texts[self.classes[rows].to(seen.device)]  # (batch, words, d): the picture's class with each word
        logits = 20 * torch.einsum("bd,bwd->bw", F.normalize(seen.float(), dim=-1), own)
        total = F.cross_entropy(logits, answers.to(seen.device), reduction="sum")
        return total / max(int((answers >= 0).sum()), 1)


def _detail(name: str, kind: str, word: str) -> str:
    """The plainest caption that tells one detail: "a picture of two dogs", "a picture of an orange dog"."""
    if kind == "count":
        number = COUNTS.index(word) + 1
        return f"a picture of {word} {noun(name, number)}" if number > 1 else class_prompt(name, "picture")
    if kind == "distance":
        return f"{class_prompt(name, 'picture')} {word}"
    return f"a picture of {with_article(f'{word} {noun(name)}')}"


def train_clap(data: Rendered, out: Path, checkpoint: Path, config: TrainConfig, device: str) -> list[float]:
    """Train CLAP on sounds and captions (and its tower's tagging head on the classes), and write it into `out`."""
    tokenizer = write_clap_tokenizer(out)
    model_config = CLAP_CONFIG | {"text_cfg": CLAP_CONFIG["text_cfg"] | {"vocab_size": len(tokenizer)}}
    captions = [[sound_caption(scene, v) for v in range(VARIANTS)] for scene in data.scenes]
    words = tokenizer([text for wordings in captions for text in wordings], padding=True, return_tensors="pt")
    tokens = {name: words[name].view(len(captions), VARIANTS, -1) for name in ("input_ids", "attention_mask")}
    torch.manual_seed(config.seed)
    model = Clap(model_config)
    log_mels = clap_log_mels(model, data)
    targets = torch.from_numpy(data.targets())
    prompts = dict(tokenizer([class_prompt(name, "sound") for name in CLASSES], padding=True, return_tensors="pt"))
    prompts = {name: prompts[name].to(device) for name in tokens}
    model.audio_branch.spec_augmenter = nn.Identity()  # its stripes would hide a third of so short a clip
    front_end, model.audio_branch.spectrogram_extractor = model.audio_branch.spectrogram_extractor, nn.Identity()

    def loss_of(model, rows, generator):
        heard = model.hear(augment_log_mels(log_mels[rows].float(), generator)[:, None].to(device))
        variants = torch.randint(VARIANTS, (len(rows),), generator=generator)
        wording = {name: table[rows, variants].to(device) for name, table in tokens.items()}
        embedded = model.project_audio(heard)
        contrast = _contrast(embedded, model.embed_tokens(wording), model.logit_scale_a)
        contrast = contrast + _name(embedded, model.embed_tokens(prompts), targets[rows].to(device))
        # HTSAT was an AudioSet tagger before it was CLAP's tower; its head keeps learning to tag here
        shares = heard["clipwise_output"].float().clamp(1e-6, 1 - 1e-6)
        return contrast + 5 * F.binary_cross_entropy(shares, (targets[rows] > 0).float().to(device))

    losses = fit(model, loss_of, len(log_mels), config, checkpoint, "CLAP", device)
    model.audio_branch.spectrogram_extractor = front_end
    save_weights(model, out / "model.safetensors")
    write_json(out / "config.json", model_config)
    return losses


def _name(embeddings: torch.Tensor, prompts: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of telling the class from the plainest captions, "a picture of a dog".

    In a batch's contrast those are each other's false negatives, so the class would be learned as one detail among many
    (UniCL, arXiv 2204.03610, treats labels as captions in the same way).
    """
    embeddings, prompts = F.normalize(embeddings.float(), dim=-1), F.normalize(prompts.float(), dim=-1)
    return F.cross_entropy(20 * embeddings @ prompts.T, targets)


def shrunk(pictures: np.ndarray, size: int) -> torch.Tensor:
    """All pictures at CLIP's size, uint8 (n, 3, size, size)."""
    chunks = torch.from_numpy(pictures).split(512)
    return torch.cat([
        resize(chunk.permute(0, 3, 1, 2), size, InterpolationMode.BICUBIC, antialias=True)
        for chunk in tqdm(chunks, "shrink pictures", disable=len(chunks) == 1)
    ])


def clap_log_mels(model: Clap, data: Rendered) -> torch.Tensor:
    """CLAP's front end over all sounds, float16 (n, frames, mels)."""
    front_end, length = model.audio_branch.spectrogram_extractor, model.clip_samples
    chunks = []
    for start in tqdm(range(0, len(data.sounds), 256), "CLAP log-mels"):
        waveforms = torch.from_numpy(data.waveforms(slice(start, start + 256))[:, :length])
        chunks.append(front_end(waveforms)[:, 0].half())
    return torch.cat(chunks)


def _contrast(first: torch.Tensor, second: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """InfoNCE at a scale that is learned and stays below 100, as CLIP's does."""
    return info_nce(first.float(), second.float(), log_scale.clamp(max=np.log(100)).exp())


def write_bpe(path: Path) -> Path:
    """A byte-pair vocabulary in CLIP's own file format in which every caption word is one token."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    words = vocabulary()
    endings = sorted({f"{word[-1]}</w>" for word in words})  # named first: else their order, and the ties', is random
    trainer = trainers.BpeTrainer(
        vocab_size=5000, end_of_word_suffix="</w>", show_progress=False, special_tokens=endings
    )
    tokenizer.train_from_iterator([" ".join(words)], trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["#version: v2a mini"] + [" ".join(merge) for merge in merges]
    path.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    return path


def write_clap_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """A word-level tokenizer with RoBERTa's special tokens over the caption words, saved in transformers' format."""
    words = ["<s>", "<pad>", "</s>", "<unk>", *vocabulary()]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
        cls_token="<s>", sep_token="</s>", model_max_length=80,
    )
    fast.save_pretrained(folder)
    return fast
