"""The networks of a stack as ONNX, each with its pre- and post-processing that is plain arithmetic.

Weights that half precision holds exactly are stored so and cast back when a session opens, which halves the files and
changes nothing: the embedded weights are in half precision already. The classifiers of photographs are stored in bytes.
All arithmetic is in single precision.
"""

import io

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional as F

from v2a_utils.models.photo import CLASSIFIERS
from v2a_utils.models.vocoder import GriffinLimVocoder

OPSET = 17
LEAST = 256  # numbers in a tensor that is worth halving


class Seeing(nn.Module):
    """Pixels (1, 3, size, size), 0 to 255 -> CLIP's unit-norm embedding (1, d)."""

    def __init__(self, vision):
        super().__init__()
        self.visual = vision.model.visual
        normalise = vision.preprocess.transforms[-1]
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(getattr(normalise, name)).view(1, 3, 1, 1))

    def forward(self, pixels):
        return F.normalize(self.visual((pixels / 255 - self.mean) / self.std), dim=-1)


class Predicting(nn.Module):
    """Latents (n, channels, time, mel), time (1,), CLAP embeddings (n, d) -> the UNet's prediction, of latents' shape.

    n is 2 for a guided pair, 1 without guidance.
    """

    def __init__(self, unet):
        super().__init__()
        self.unet = unet

    def forward(self, latents, time, labels):
        return self.unet(latents, time.expand(latents.shape[0]), encoder_hidden_states=None, class_labels=labels).sample


class Decoding(nn.Module):
    """Scaled latents (1, channels, time, mel) -> log-mel (1, frames, mels) in nats."""

    def __init__(self, vae):
        super().__init__()
        self.vae = vae

    def forward(self, latents):
        return self.vae.decode(latents / self.vae.config.scaling_factor).sample[:, 0]


class Guessing(nn.Module):
    """Log-mel (1, frames, mels) -> the vocoder's first guess of the STFT's magnitudes (1, frames, bins)."""

    def __init__(self, vocoder):
        super().__init__()
        self.vocoder = vocoder

    def forward(self, log_mels):
        return self.vocoder._first_guess(log_mels)


class Regressing(nn.Module):
    """CLIP embedding (1, d) -> CLAP embedding (1, d), both of unit norm."""

    def __init__(self, mapper):
        super().__init__()
        self.mapper = mapper

    def forward(self, visual):
        return F.normalize(self.mapper(visual), dim=-1)


class Denoising(nn.Module):
    """Noisy embedding (1, d), time (1,), unit-norm CLIP embedding (1, d) -> the clean embedding predicted (1, d)."""

    def __init__(self, mapper):
        super().__init__()
        self.mapper = mapper

    def forward(self, noisy, time, visual):
        return self.mapper.network(noisy, time, visual * self.mapper.scale_in)


class Naming(nn.Module):
    """Pixels (1, 3, side, side), 0 to 255, of a photograph -> ImageNet's class probabilities (1, 1000), and what the
    network sees before it names them (1, features), unit norm."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixels):
        seen = self.model.forward_head(self.model.forward_features((pixels - 127) / 128), pre_logits=True)
        return self.model.get_classifier()(seen).softmax(-1), F.normalize(seen, dim=-1)


def networks(stack, mappers: dict[str, nn.Module]) -> dict[str, tuple[nn.Module, tuple, dict]]:
    """Name -> module, example inputs, dynamic axes, of everything that a page needs from a stack.

    ValueError for a vocoder that the page has no counterpart of.
    """
    generator, size = stack.generator, stack.vision.model.visual.image_size
    size = size if isinstance(size, int) else size[0]
    if not isinstance(generator.vocoder, GriffinLimVocoder):
        raise ValueError(f"the page knows Griffin-Lim vocoders only, not {type(generator.vocoder).__name__}")
    latents = torch.randn(2, *generator.latent_shape(generator.clip_seconds))
    labels = F.normalize(torch.randn(2, generator.embed_dim), dim=-1)
    visual = F.normalize(torch.randn(1, stack.vision.embed_dim), dim=-1)
    mel = Decoding(generator.vae)(latents[:1]).detach()
    found = {
        "clip": (Seeing(stack.vision), (255 * torch.rand(1, 3, size, size),), {}),
        "unet": (Predicting(generator.unet), (latents, torch.tensor([500]), labels),
                 {"latents": {0: "n"}, "labels": {0: "n"}, "answer": {0: "n"}}),
        "vae": (Decoding(generator.vae), (latents[:1],), {}),
        "vocoder": (Guessing(generator.vocoder), (torch.cat([mel, mel[:, -1:]], 1),), {}),
    }
    if stack.has("tagger"):
        samples = torch.zeros(1, round(generator.clip_seconds * stack.tagger.sample_rate))
        found["tagger"] = (stack.tagger.model, (stack.tagger.model.log_mel(samples),), {})
    for name, mapper in mappers.items():
        if mapper.kind == "regression":
            found[name] = Regressing(mapper), (visual,), {}
        else:
            found[name] = Denoising(mapper), (labels[:1], torch.tensor([500]), visual), {}
    if stack.has("photo"):
        for number, (model, classifier) in enumerate(zip(stack.photo.models, CLASSIFIERS)):
            found[f"photo{number}"] = Naming(model), (255 * torch.rand(1, 3, classifier.side, classifier.side),), {}
    return found


def exported(module: nn.Module, inputs: tuple, axes: dict) -> onnx.ModelProto:
    """A module as ONNX; its inputs are named after `forward`'s arguments, its outputs "answer" and "features".

    The classifiers of photographs are the only ones whose weights half precision does not hold: they become bytes.
    """
    buffer = io.BytesIO()
    names = list(module.forward.__code__.co_varnames[1 : 1 + len(inputs)])
    naming = isinstance(module, Naming)
    with torch.no_grad():
        # PRESERVE: batch norms stay as they are, and so do the weights; the runtime folds them when it opens the file
        torch.onnx.export(module.eval(), inputs, buffer, opset_version=OPSET, dynamo=False, input_names=names,
                          output_names=["answer", "features"][: 1 + naming], dynamic_axes=axes,
                          training=torch.onnx.TrainingMode.PRESERVE)
    model = onnx.load_from_string(buffer.getvalue())
    _shrink(model, _as_bytes if naming else _as_halves)
    return model


def _shrink(model: onnx.ModelProto, shrink) -> None:
    """Store large weights as `shrink` says; the nodes that make single precision of them again come first."""
    nodes, tensors = [], []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        large = tensor.data_type == TensorProto.FLOAT and values.size >= LEAST
        kept, node = shrink(tensor.name, values) if large else ([tensor], None)
        tensors += kept
        nodes += [node] if node else []
    nodes += model.graph.node
    for field, content in ((model.graph.initializer, tensors), (model.graph.node, nodes)):
        content = [type(one).FromString(one.SerializeToString()) for one in content]
        del field[:]
        field.extend(content)


def _as_halves(name: str, values: np.ndarray) -> tuple[list, onnx.NodeProto | None]:
    """In half precision, where that holds them exactly."""
    half = values.astype(np.float16)
    if not np.array_equal(half.astype(np.float32), values):
        return [numpy_helper.from_array(values, name)], None
    cast = helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT)
    return [numpy_helper.from_array(half, f"{name}_half")], cast


def _as_bytes(name: str, values: np.ndarray) -> tuple[list, onnx.NodeProto | None]:
    """Matrices and kernels as whole numbers from -127 to 127, times a scale for each output."""
    if values.ndim < 2:
        return [numpy_helper.from_array(values, name)], None
    scale = np.abs(values).reshape(len(values), -1).max(1) / 127 + 1e-12
    whole = np.round(values / scale.reshape(-1, *[1] * (values.ndim - 1))).astype(np.int8)
    inputs = [numpy_helper.from_array(whole, f"{name}_bytes"),
              numpy_helper.from_array(scale.astype(np.float32), f"{name}_scale"),
              numpy_helper.from_array(np.zeros(len(values), np.int8), f"{name}_zero")]
    return inputs, helper.make_node("DequantizeLinear", [one.name for one in inputs], [name], axis=0)
