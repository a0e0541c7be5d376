"""What CLIP learns from: details as negatives, augmentation that keeps what a caption says; and how its sight is told."""

import re

import numpy as np
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from soundworld import CLASSES, make_scene
from v2a_pretraining import sight
from v2a_pretraining.augment import STAGES, MixStyle, augment_pictures
from v2a_pretraining.encoders import Details, _read, write_bpe

from v2a_utils.stacks.places import MINI
from v2a_utils.stacks.stack import load_mini_clip


class Told(torch.nn.Module):
    """A text tower that knows every text, by its tokens: a direction of its own for each."""

    def encode_text(self, tokens):
        seeds = [hash(tuple(row.tolist())) % 2**31 for row in tokens]
        return torch.stack([torch.randn(64, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


@pytest.fixture(scope="module")
def details(tmp_path_factory):
    tokenizer = SimpleTokenizer(bpe_path=str(write_bpe(tmp_path_factory.mktemp("bpe") / "bpe.txt.gz")),
                                context_length=40)
    scenes = [make_scene("train", index) for index in range(60)]
    return Details(scenes, tokenizer), scenes, tokenizer


@pytest.mark.parametrize("kind, text", [
    ("colour", "a picture of an orange {}"), ("size", "a picture of a tiny {}"), ("count", "a picture of two {}s"),
    ("distance", "a picture of a {} very far"),
])
def test_details_are_captions_that_differ_in_one_word(details, kind, text):
    told, _, tokenizer = details
    dog = CLASSES.index("dog")
    assert (told.prompts[kind][dog] == tokenizer([text.format("dog")])[0]).all(1).sum() == 1
    assert len({tuple(row.tolist()) for row in told.prompts[kind][dog]}) == told.prompts[kind].shape[1]


@pytest.mark.parametrize("kind", ["colour", "size", "distance", "count"])
def test_the_loss_asks_for_the_true_word_of_single_things_and_for_no_colour_that_was_changed(details, kind, monkeypatch):
    told, scenes, _ = details
    monkeypatch.setattr(Details, "KINDS", (kind,))
    single = np.array([row for row, scene in enumerate(scenes) if len(scene.things) == 1])
    duets = np.setdiff1d(np.arange(len(scenes)), single)
    right = Told().encode_text(torch.stack([told.prompts[kind][told.classes[row], told.answers[kind][row]]
                                            for row in single]))
    yes, no = (torch.full((len(single),), value) for value in (True, False))
    generator = torch.Generator().manual_seed(0)
    assert told.loss(Told().encode_text, right, single, yes, generator) < 1e-3 < 1 < told.loss(
        Told().encode_text, right.flip(0), single, yes, generator)
    assert (told.loss(Told().encode_text, right.flip(0), single, no, generator) == 0) == (kind == "colour")
    assert len(duets) and (told.answers[kind][duets] == -100).all()


def test_colours_stay_where_a_caption_names_one_and_shapes_do_everywhere():
    pictures = torch.zeros(64, 3, 32, 32)
    pictures[:, 0, :16], pictures[:, 2, 16:] = 0.8, 0.6  # red above blue
    coloured = torch.arange(64) % 2 == 0
    for stage in STAGES:
        made = augment_pictures(pictures, coloured, stage, torch.Generator().manual_seed(3))
        assert made.shape == pictures.shape and made.min() >= 0 and made.max() <= 1
        above, below = made[:, :, 2:9].mean((2, 3)), made[:, :, 23:30].mean((2, 3))
        assert (above[coloured].argmax(1) == 0).all() and (below[coloured].argmax(1) == 2).all()
        assert (above[~coloured].argmax(1) != 0).any()  # the others may be grey, inverted, or tinted
        assert ((above - below).abs().sum(1) > 0.02).float().mean() > 0.9
    again = augment_pictures(pictures, coloured, "fresh", torch.Generator().manual_seed(3))
    assert torch.equal(made, again)


def test_styles_of_features_are_mixed_in_training_alone_and_where_no_colour_is_told():
    layer = torch.nn.Identity()
    source = torch.Generator().manual_seed(0)
    features = torch.randn(40, 8, 6, 6, generator=source) * (0.3 + torch.rand(40, 8, 1, 1, generator=source))
    free = torch.arange(40) % 2 == 0
    mix = MixStyle([layer])
    mix.draw(free, torch.Generator().manual_seed(1))
    made = layer(features)
    changed = (made - features).abs().amax((1, 2, 3)) > 1e-4
    assert 5 < changed.sum() <= 20 and not changed[~free].any()
    taken = mix.amounts[changed]  # mean and spread lie between the picture's own and the other's, by so much
    for measure in (lambda x: x.mean((2, 3), keepdim=True), lambda x: x.std((2, 3), keepdim=True)):
        own, others = measure(features), measure(features[mix.others])
        assert torch.allclose(measure(made)[changed], (own + mix.amounts * (others - own))[changed], atol=1e-3)
    assert 0 < taken.min() < 0.1 and 0.9 < taken.max() <= 1
    flat = [(x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), keepdim=True) for x in (features, made)]
    assert torch.allclose(*flat, atol=1e-3)  # what the picture shows stays
    assert torch.equal(layer.eval()(features), features)


def test_captions_are_read_without_their_padding_as_with_it():
    vision = load_mini_clip(MINI / "clip")
    texts = ["a picture of a dog", "two tiny orange cats very far on a meadow at night", ""]
    tokens = vision.tokenizer(texts)
    for model in (vision.model.train(), vision.model.eval()):
        with torch.no_grad():
            assert torch.allclose(_read(model, tokens), model.encode_text(tokens), atol=1e-5)
            assert torch.allclose(_read(model, tokens[:1]), model.encode_text(tokens[:1]), atol=1e-5)


def test_sight_is_told_for_both_splits_with_intervals(monkeypatch):
    monkeypatch.setattr(sight, "LEAST", 4)
    text = sight.table(MINI, test=120, ood=100, read=700)
    rows = dict(re.findall(r"^\| ([^|]+) \| (.+) \|$", text, re.MULTILINE))
    assert len(rows) == 7 and "test (n = " in text
    for what in ("class by a linear reader", "class zero-shot"):
        assert float(rows[what].split("%")[0]) > 85
    sizes = [float(value) for value in re.findall(r"(-?[\d.]+) \[", rows["rank correlation of size"])]
    assert len(sizes) == 2 and min(sizes) > 0.5
