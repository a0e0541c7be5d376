"""The field's listeners on files of the public formats: random weights, the numbers of the original architectures."""

import csv
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import sine

from v2a_utils.data.files import sha256
from v2a_utils.models.backbones import BACKBONES, AudioBackbone, load_backbone
from v2a_utils.models.clap import _htsat_class
from v2a_utils.models.networks import AudioCnn, VggishNet, Wav2ClipNet
from v2a_utils.stacks.fetching import TABLE
from v2a_utils.stacks.places import public_folders, stack_config
from v2a_utils.stacks.stack import load_tagger

SOUND = (sine(440) + sine(1300, amplitude=0.2))[:20_000]  # 1.25 s


@pytest.fixture(scope="module", params=["16k", "32k"])
def panns(request, tmp_path_factory):
    """laion_clap's Cnn14 with random weights, and a folder with them in the format of PANNs' files."""
    _htsat_class()  # registers laion_clap's towers without its package
    theirs = importlib.reload(importlib.import_module("v2a_clap_towers.pann_model"))
    torch.manual_seed(0)
    signal, name = {"16k": ((16_000, 512, 160, 64, 50, 8000), "Cnn14_16k_mAP=0.438.pth"),
                    "32k": ((32_000, 1024, 320, 64, 50, 14_000), "Cnn14_mAP=0.431.pth")}[request.param]
    model = theirs.Cnn14(*signal, 527).eval()
    model.bn0.running_mean.fill_(-30.0)  # as trained on dB
    folder = tmp_path_factory.mktemp("tagger")
    sampler = {"indexes": np.arange(3), "pointer": np.int64(1)}  # left there by the training
    torch.save({"iteration": 1, "model": model.state_dict(), "sampler": sampler}, folder / name)
    write_names(folder)
    return model, folder


def write_names(folder) -> None:
    with open(folder / "class_labels_indices.csv", "w", newline="") as file:
        csv.writer(file).writerows([("index", "mid", "display_name")] + [(i, f"/m/{i}", f"name {i}")
                                                                          for i in range(527)])


def test_panns_from_its_public_file_give_the_originals_numbers(panns):
    model, folder = panns
    ours = load_backbone(folder)
    with torch.inference_mode():
        theirs = model({"waveform": torch.from_numpy(SOUND)[None]}, device="cpu")
    assert ours.backbone == f"PANNs CNN14 {ours.sample_rate // 1000}k" in ("PANNs CNN14 16k", "PANNs CNN14 32k")
    assert ours.features([SOUND], ours.sample_rate).shape == (1, ours.dimensions)
    assert np.allclose(ours.features([SOUND], ours.sample_rate), theirs["embedding"].numpy(), atol=1e-4)
    shares = 1 / (1 + np.exp(-ours.logits([SOUND], ours.sample_rate)))
    assert np.allclose(shares, theirs["clipwise_output"].numpy(), atol=1e-5)
    names, scores = zip(*ours.top(SOUND, ours.sample_rate, k=527))
    assert names[0].startswith("name ") and scores == tuple(sorted(scores, reverse=True))
    assert np.allclose(sorted(scores), np.sort(shares[0]), atol=1e-5)  # a multi-label model's: they do not add up to 1


def test_the_scores_of_a_tagger_of_one_label_are_probabilities(stack):
    scores = [score for _, score in stack.tagger.top(SOUND, 16_000, k=len(stack.tagger.names))]
    assert sum(scores) == pytest.approx(1, abs=1e-5)


def test_a_file_is_held_against_a_listed_sum(panns, tmp_path):
    path, = panns[1].glob("*.pth")
    for name in (path.name, "class_labels_indices.csv"):
        (tmp_path / name).symlink_to(panns[1] / name)
    (tmp_path / "SHA256SUMS").write_text(f"{sha256(path)}  {path.name}\n")
    load_backbone(tmp_path)
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  {path.name}\n")
    with pytest.raises(ValueError, match="Cnn14_.*SHA-256"):
        load_backbone(tmp_path)


@pytest.fixture(scope="module")
def passt(tmp_path_factory):
    """hear21passt's own model with random weights (of its first layer), and a folder with them as its file has them."""
    base = pytest.importorskip("hear21passt.base")
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        build = base.get_model_passt
        patch.setattr(base, "get_model_passt", lambda arch: build(arch=arch, pretrained=False))
        model = base.get_basic_model().eval()
    model.net.blocks = model.net.blocks[:1]
    folder = tmp_path_factory.mktemp("passt")
    torch.save(model.net.state_dict(), folder / "passt-s-f128-p16-s10-ap.476-swa.pt")
    write_names(folder)
    return model, folder


@pytest.mark.filterwarnings("ignore")  # hear21passt's own, about PyTorch and its 998 frames
@pytest.mark.parametrize("seconds", [1.25, 11])
def test_passt_gives_the_numbers_of_hear21passt_on_ten_seconds(passt, seconds):
    model, folder = passt
    ours, sound = load_backbone(folder), np.tile(SOUND, 18)[: int(seconds * 32_000)]
    ten = np.pad(sound, (0, 320_000))[:320_000]
    with torch.inference_mode():
        logits, features = model(torch.from_numpy(ten)[None]).split([527, 768], dim=1)
    assert (ours.backbone, ours.sample_rate) == ("PaSST", 32_000)
    heard = ours.features([sound], 32_000)
    assert np.allclose(heard, features.numpy(), atol=1e-5)
    assert np.allclose(ours.classify(heard), logits.numpy(), atol=1e-5)
    assert np.allclose(ours.logits([sound], 32_000), logits.numpy(), atol=1e-5)


def test_passt_without_its_package_is_a_sentence(passt, monkeypatch):
    monkeypatch.setitem(sys.modules, "hear21passt.models", None)
    with pytest.raises(ValueError, match=r"pip install 'v2a-utils\[passt\]'"):
        load_backbone(passt[1])


def test_a_listener_that_belongs_to_no_stack_is_opened_by_name(passt, tmp_path, monkeypatch):
    monkeypatch.setenv("V2A_EXTRAS", str(tmp_path))
    with pytest.raises(ValueError, match="fetch --for benchmark"):
        load_tagger("passt", "cpu")
    (tmp_path / "passt").symlink_to(passt[1])
    assert load_tagger("passt", "cpu").backbone == "PaSST"
    with pytest.raises(ValueError, match="unknown audio backbone 'magic'"):
        load_tagger("magic", "cpu")


@pytest.mark.parametrize("backbone", BACKBONES, ids=lambda backbone: backbone.key)
def test_a_backbone_says_all_there_is_to_know_in_its_class(backbone, tmp_path, monkeypatch):
    monkeypatch.setenv("V2A_CACHE", str(tmp_path))
    item, = (item for item in TABLE if item.name == backbone.key)  # `fetch` knows it
    assert item.urls == backbone.urls and all(sum_of in " ".join(item.urls) for sum_of in item.sums)
    place = public_folders()[backbone.key]  # and so does the stack that looks for it
    assert place == (stack_config("paper").path(backbone.part) if backbone.part else load_place(backbone.key))
    assert Path(backbone.urls[0]).match(backbone.weights)
    assert {backbone.rate} <= {16_000, 32_000} and backbone.dimensions > 100 and backbone.name and backbone.licence


def load_place(key: str) -> Path:
    with pytest.raises(ValueError, match="fetch --for benchmark") as caught:
        load_tagger(key, "cpu")
    return Path(str(caught.value).split(": the audio backbone")[0])


def save_vggish(folder) -> dict:
    torch.manual_seed(0)
    state = VggishNet().state_dict()
    torch.save(state, folder / "vggish.pth")
    return state


def test_vggish_has_the_public_files_parameters_and_a_frame_for_every_096_seconds(tmp_path):
    state = save_vggish(tmp_path)
    assert [name for name in state if name.endswith("weight")] == [
        *(f"features.{k}.weight" for k in (0, 3, 6, 8, 11, 13)), *(f"embeddings.{k}.weight" for k in (0, 2, 4))]
    assert state["embeddings.0.weight"].shape == (4096, 12_288) and state["embeddings.4.bias"].shape == (128,)
    ours = load_backbone(tmp_path)
    sounds = [np.tile(SOUND, 4), np.tile(SOUND[::-1], 4)]  # 5 s
    found = ours.frames(sounds, 16_000)
    assert found.shape == (2, 5, 128) and (found < 0).any()  # no ReLU at the end
    assert ours.frames([SOUND[:500]], 16_000).shape == (1, 1, 128)
    assert not np.allclose(found[0], found[1])


def test_vggish_gives_the_numbers_of_torchvggish(tmp_path):
    theirs = pytest.importorskip("torchvggish.torchvggish")
    examples = pytest.importorskip("torchvggish.vggish_input").waveform_to_examples
    model = theirs.VGG(theirs.make_layers(), postprocess=False).eval()
    model.load_state_dict(save_vggish(tmp_path))
    model.embeddings = model.embeddings[:-1]
    sound = np.tile(SOUND, 2)
    with torch.inference_mode():
        expected = model(examples(sound.astype(np.float64), 16_000)).numpy()
    assert np.allclose(load_backbone(tmp_path).frames([sound], 16_000)[0], expected, atol=1e-5)


def save_wav2clip(folder) -> dict:
    torch.manual_seed(0)
    state = {f"audio_{name}": value for name, value in Wav2ClipNet().state_dict().items()}
    state |= {"audio_encoder.spectrogram.window": torch.hann_window(512), "image_encoder.x": torch.zeros(1)}
    torch.save(state, folder / "Wav2CLIP.pt")
    return state


def test_wav2clip_has_the_public_files_parameters_and_a_unit_norm_embedding(tmp_path):
    state = save_wav2clip(tmp_path)
    assert state["audio_encoder.conv1.weight"].shape == (64, 1, 7, 7)
    assert {"audio_encoder.layer4.0.downsample.1.running_var", "audio_transform.sequential.3.weight"} <= set(state)
    assert not [name for name in state if ".fc." in name]
    found = load_backbone(tmp_path).embed([SOUND, SOUND[::-1]], 16_000)
    assert found.shape == (2, 512) and np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_wav2clip_gives_the_numbers_of_its_original(tmp_path):
    encoder = pytest.importorskip("wav2clip.model.encoder")
    theirs = encoder.ResNetExtractor(save_wav2clip(tmp_path), "frozen", transform=True)
    with torch.inference_mode():
        expected = theirs(torch.from_numpy(SOUND)[None]).numpy()
    ours = load_backbone(tmp_path).logits([SOUND], 16_000)
    assert np.allclose(ours, expected, atol=1e-5 * np.abs(expected).max())


def test_our_own_listeners_open_alike_and_hear_frames(stack):
    assert (stack.tagger.backbone, stack.wav2clip.backbone) == ("mini tagger", "mini wav2clip")
    assert stack.framewise.backbone == "mini wav2clip"
    assert stack.framewise.frames([np.tile(SOUND, 2)], 16_000).shape == (1, 2, 128)  # 2.5 s
    assert stack.framewise.frames([SOUND[:1000]], 16_000).shape == (1, 1, 128)


def test_classes_follow_from_features(stack):
    heard = stack.tagger.features([SOUND], 16_000)
    assert np.allclose(stack.tagger.classify(heard), stack.tagger.logits([SOUND], 16_000), atol=1e-5)


def test_frames_are_those_of_their_pieces():
    torch.manual_seed(0)
    ears = AudioBackbone(AudioCnn({"sample_rate": 16_000, "n_fft": 512, "hop": 160, "mels": 32, "widths": [4, 8],
                              "features": 6, "outputs": 3}), list("abc"))
    sound = np.tile(SOUND, 2)
    assert np.allclose(ears.frames([sound], 16_000)[0, 1], ears.features([sound[15_360:30_720]], 16_000)[0], atol=1e-5)


@pytest.mark.parametrize("content, message", [
    (None, "no audio backbone there"), (b"not a pickle", "not a checkpoint"), ({"features.0.weight": torch.zeros(1)}, "fit"),
], ids=["nothing", "damaged", "other weights"])
def test_folders_without_a_listener_are_refused_in_one_sentence(tmp_path, content, message):
    path = tmp_path / "vggish.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        torch.save(content, path)
    with pytest.raises(ValueError, match=message) as caught:
        load_backbone(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_sum_in_the_files_name_is_checked(tmp_path):
    (tmp_path / "vggish-10086976.pth").write_bytes(b"half of it")
    with pytest.raises(ValueError, match="SHA-256 is not 10086976"):
        load_backbone(tmp_path)
