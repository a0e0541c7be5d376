"""The same two folders of sounds through `score` and through the field's own programs (`make bench-parity`).

All listen with the same random weights, so that what differs comes from reading, resampling, framing or the formula.
frechet-audio-distance, torchaudio, torchmetrics and hear21passt come with the extra `test`. audioldm_eval and fadtk do
not install beside the pinned versions; `pip install --no-deps --target FOLDER audioldm_eval fadtk hypy_utils`, then
`make bench-parity PEERS=FOLDER`. Imports that only other measures need are stubbed, and nothing is called that would
fetch weights. torchaudio's load and save need torchcodec; soundfile reads and writes the samples in its place.
"""

import argparse
import csv
import importlib
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import soundfile
import soxr
import torch
import torchaudio
from soundworld import SAMPLE_RATE, make_scene, other_take, synthesise
from torch import nn

from v2a_utils.data.files import write_table
from v2a_utils.evaluation import scoring
from v2a_utils.evaluation.scoring import score
from v2a_utils.models.networks import VggishNet, Wav2ClipNet
from v2a_utils.stacks.places import BACKBONES
from v2a_utils.stacks.stack import load_stack, load_tagger

CASES = {"16 kHz, mono": (16_000, 1), "32 kHz, mono": (32_000, 1), "44.1 kHz, mono": (44_100, 1),
         "44.1 kHz, stereo": (44_100, 2)}
KEY = ["case", "program", "measure", "backbone"]
PANNS = "PANNs CNN14 16k"
CNN14_16K = (16_000, 512, 160, 64, 50, 8000)  # rate, window, hop, mels, and their lowest and highest Hz
Numbers = Iterator[tuple[str, str, float]]  # measure, backbone, value


def main() -> None:
    """Write a row for each case, program and measure: our value, theirs, and the relative difference."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20, help="sounds in each folder")
    parser.add_argument("--work", type=Path, help="folder that is kept, so that a killed run goes on (default: none)")
    parser.add_argument("--out", type=Path, default=Path("out/results/parity.csv"), help="the table (default: %(default)s)")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # the programs' own
    torch.set_grad_enabled(False)
    torchaudio.load, torchaudio.save = read, write
    known = pd.read_csv(options.out) if options.out.is_file() else pd.DataFrame(columns=KEY)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = options.work or Path(name)
        if not (folder / "extras").is_dir():
            write_weights(folder / "extras")
        os.environ |= {"V2A_EXTRAS": str(folder / "extras"), "V2A_CACHE": str(folder)}
        for case, (rate, channels) in CASES.items():
            made, true = folders = [folder / case / kind for kind in ("made", "true")]
            if not made.is_dir():
                write_sounds(made, true, options.count, rate, channels)
            table = score(load_stack("paper", "cpu"), made, true, out=folder / "out",
                          listeners=["paper", "passt"], overwrite=True)
            ours = {(row.measure, row.backbone): row.value for row in table.itertuples()}
            for row in (row for program in PROGRAMS for row in compare(program, case, folders, ours, options.count)):
                print(*row.values(), flush=True)
                rows.append(row)
                new = pd.DataFrame(rows)
                kept = known[~known.set_index(KEY).index.isin(new.set_index(KEY).index)]
                write_table(pd.concat([new, kept]) if len(kept) else new, options.out)
    print(pd.read_csv(options.out).to_string(index=False))


def compare(program: str, case: str, folders: list[Path], ours: dict, count: int) -> Iterator[dict]:
    """Rows of one program; none where it is not installed."""
    try:
        release = version(program)
    except PackageNotFoundError:
        print(f"{program} is not installed: its earlier numbers stay")
        return
    with tempfile.TemporaryDirectory() as name:  # some leave files beside the sounds
        copies = [shutil.copytree(folder, Path(name) / folder.name) for folder in folders]
        for measure, backbone, value in PROGRAMS[program](*copies):
            mine = ours[measure, backbone]
            yield {"case": case, "program": program, "version": release, "measure": measure, "backbone": backbone,
                   "n": count, "score": mine, "theirs": value, "relative difference": abs(mine - value) / abs(value)}


# ------------------------------------------------------------------------------------------------- sounds and weights


def write_sounds(made: Path, true: Path, count: int, rate: int, channels: int) -> None:
    """Pairs of sounds of SoundWorld, true ones and other takes under a hiss that tells them apart, at a rate, in 16
    bits and without an offset."""
    for folder in (made, true):
        folder.mkdir(parents=True)
    for index in range(count):
        scene, hiss = make_scene("test", index), np.random.default_rng(index)
        for folder, one, level in ((true, scene, 0), (made, other_take(scene, 1), 0.05)):
            wave = synthesise(one)
            wave = wave + level * np.abs(wave).max() * hiss.standard_normal(len(wave))
            wave = soxr.resample(wave - wave.mean(), SAMPLE_RATE, rate)
            sides = np.stack([wave, 0.5 * np.roll(wave, 200)], 1)[:, :channels]
            soundfile.write(folder / f"{scene.id}.wav", sides, rate, subtype="PCM_16")


def write_weights(extras: Path) -> None:
    """Random weights as the public files have them; PANNs' hold their mel filters, too."""
    from frechet_audio_distance.models import pann

    torch.manual_seed(0)
    vggish = VggishNet()
    for weight in (each for each in vggish.parameters() if each.ndim > 1):
        nn.init.kaiming_normal_(weight)  # what tells sounds apart stays so through all layers
    panns = pann.Cnn14_16k(*CNN14_16K, 527)
    panns.bn0.running_mean.fill_(-30.0)  # as trained on dB
    panns.fc_audioset.weight.mul_(30.0)  # so that class scores differ from sound to sound, as those of trained ones do
    states = {"tagger/Cnn14_16k_mAP=0.438.pth": {"model": panns.state_dict()},
              "vggish/vggish.pth": vggish.state_dict(), "passt/passt-s.pt": random_passt().state_dict(),
              "wav2clip/Wav2CLIP.pt": {f"audio_{name}": value for name, value in Wav2ClipNet().state_dict().items()}}
    for file, state in states.items():
        path = extras / file
        path.parent.mkdir(parents=True)
        torch.save(state, path)
        with open(path.parent / "class_labels_indices.csv", "w", newline="") as table:
            names = ((number, f"/m/{number}", f"name {number}") for number in range(527))
            csv.writer(table).writerows([("index", "mid", "display_name"), *names])


def random_passt() -> nn.Module:
    """PaSST's network with one layer."""
    from hear21passt.models.passt import PaSST

    return PaSST(stride=(10, 10), depth=1, distilled=True)


def read(path: str | Path, **settings) -> tuple[torch.Tensor, int]:
    """What torchaudio.load gives: samples (channels, n) in -1..1 and their rate."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return torch.from_numpy(samples.T.copy()), rate


def write(path: str | Path, samples: torch.Tensor, rate: int, **settings) -> None:
    """What torchaudio.save writes as PCM of 16 bits."""
    soundfile.write(path, samples.T.numpy(), rate, subtype="PCM_16")


class HubVggish(nn.Module):
    """VGGish as torch.hub's torchvggish gives it, without PCA and last ReLU: a sound in, a row for each frame out."""

    device, postprocess = torch.device("cpu"), False

    def __init__(self):
        super().__init__()
        peer = importlib.import_module("torchvggish.torchvggish")
        self.net = peer.VGG(peer.make_layers(), postprocess=False).eval()
        self.net.load_state_dict(torch.load(weights("vggish"), weights_only=True))
        self.net.embeddings = self.net.embeddings[:-1]

    def forward(self, wave: np.ndarray, rate: int) -> torch.Tensor:
        """(samples,) -> (frames, 128)."""
        examples = importlib.import_module("torchvggish.vggish_input").waveform_to_examples
        return self.net(examples(np.asarray(wave, np.float64), rate))


def weights(folder: str) -> Path:
    """The file of random weights in a listener's folder."""
    return next(path for path in (Path(os.environ["V2A_EXTRAS"]) / folder).iterdir() if path.suffix != ".csv")


# ------------------------------------------------------------------------------------------------------- the programs


def by_frechet_audio_distance(made: Path, true: Path) -> Numbers:
    """The package's own `score`, but for its constructor, which fetches weights."""
    from frechet_audio_distance.fad import FrechetAudioDistance

    program = FrechetAudioDistance.__new__(FrechetAudioDistance)
    vars(program).update(model_name="vggish", sample_rate=16_000, channels=1, verbose=False, audio_load_worker=1,
                         device=torch.device("cpu"), model=HubVggish())
    yield "FAD", "VGGish", float(program.score(str(true), str(made)).real)


def by_audioldm_eval(made: Path, true: Path) -> Numbers:
    """Its loaders, CNN14, and measures, as `EvaluationHelper` joins them."""
    for name in ("ssr_eval", "ssr_eval.metrics", "skimage", "skimage.metrics", "ipdb"):
        sys.modules.setdefault(name, mock.MagicMock())
    import audioldm_eval
    from audioldm_eval.datasets.load_mel import WaveDataset
    from audioldm_eval.eval import EvaluationHelper
    from audioldm_eval.feature_extractors.panns import models
    from audioldm_eval.metrics.fad import FrechetAudioDistance

    helper, random = EvaluationHelper.__new__(EvaluationHelper), torch.load(weights("tagger"), weights_only=True)
    with mock.patch.object(models, "os"), mock.patch.object(torch, "load", return_value=random):  # it would fetch
        helper.device, helper.mel_model = "cpu", models.Cnn14(["2048", "logits"], *CNN14_16K, 527).eval()
    one, two = (helper.get_featuresdict(torch.utils.data.DataLoader(WaveDataset(str(each), 16_000)))
                for each in (made, true))
    yield "FD", PANNS, audioldm_eval.calculate_fid(one, two, "2048")["frechet_distance"]
    found = audioldm_eval.calculate_kl(one, two, "logits", True)[0]
    for outputs in ("softmax", "sigmoid"):
        yield f"KL {outputs}", PANNS, found[f"kullback_leibler_divergence_{outputs}"]
    yield "IS in 10 parts", PANNS, audioldm_eval.calculate_isc(one, "logits", 2020, True, 10)["inception_score_mean"]
    frechet = FrechetAudioDistance.__new__(FrechetAudioDistance)
    frechet.verbose, frechet.model = False, HubVggish()
    yield "FAD", "VGGish", frechet.score(str(made), str(true))["frechet_audio_distance"]


def by_fadtk(made: Path, true: Path) -> Numbers:
    """Its own way from a folder to a distance, with its VGGish loader."""
    from fadtk.fad import FrechetAudioDistance
    from fadtk.model_loader import VGGishModel

    loader = VGGishModel()
    loader.model = HubVggish()
    frechet = FrechetAudioDistance(loader, load_model=False)
    for folder in (made, true):
        for path in sorted(folder.glob("*.wav")):
            frechet.cache_embedding_file(path)
    yield "FAD", "VGGish", float(frechet.score(true, made))


def by_hear21passt(made: Path, true: Path) -> Numbers:
    """The package's model, on sounds that are read as av-benchmark says: mean of channels, no offset, torchaudio."""
    from hear21passt import base

    with mock.patch.object(base, "get_model_passt", lambda arch: random_passt()):
        model = base.get_basic_model().eval()
    model.net.load_state_dict(torch.load(weights("passt"), weights_only=True))
    clouds = []
    for folder in (made, true):
        rows = []
        for path in sorted(folder.glob("*.wav")):
            samples, rate = read(path)
            wave = torchaudio.functional.resample(samples.mean(0) - samples.mean(), rate, 32_000)
            rows.append(model(nn.functional.pad(wave, (0, 320_000))[None, :320_000])[0].double())
        clouds.append(torch.stack(rows))
    logits, features = zip(*(cloud.split([527, 768], 1) for cloud in clouds))
    yield from torchaudio_distance("FD", "PaSST", *features)
    yield "KL softmax", "PaSST", float((logits[1].softmax(1) * (logits[1].log_softmax(1) - (
        logits[0].softmax(1) + 1e-6).log())).sum(1).mean())


def by_torchaudio(made: Path, true: Path) -> Numbers:
    """torchaudio's Fréchet distance of our listeners' features."""
    for name, found in our_features(made, true).items():
        if name == "PaSST":  # the eigenvalues of CNN14's 2048 dimensions take minutes
            yield from torchaudio_distance("FD", name, *(torch.from_numpy(each["features"]).double() for each in found))
        else:
            yield from torchaudio_distance("FAD", "VGGish", *(
                torch.from_numpy(np.concatenate(each["frames"])).double() for each in found))


def torchaudio_distance(measure: str, backbone: str, *clouds: torch.Tensor) -> Numbers:
    """The Fréchet distance of two clouds (n, d)."""
    moments = [value for cloud in clouds for value in (cloud.mean(0), cloud.T.cov())]
    yield measure, backbone, float(torchaudio.functional.frechet_distance(*moments))


def by_torchmetrics(made: Path, true: Path) -> Numbers:
    """torchmetrics' KL divergence and inception score of our listeners' class scores."""
    from torchmetrics import KLDivergence
    from torchmetrics.image.inception import InceptionScore

    for name, found in our_features(made, true).items():
        one, two = (torch.from_numpy(each["logits"]).double() for each in found)
        yield "KL softmax", name, float(KLDivergence()(two.softmax(1), one.softmax(1)))
        scorer = InceptionScore(feature=nn.Identity(), splits=1)
        scorer.update(one)
        yield "IS", name, float(scorer.compute()[0])


def our_features(made: Path, true: Path) -> dict[str, list[dict[str, np.ndarray]]]:
    """What `score` kept on disk of the sounds of both folders, by tagger."""
    stack, found = load_stack("paper", "cpu"), {}
    for models in ({part: getattr(stack, part) for part in BACKBONES}, {"tagger": load_tagger("passt", "cpu")}):
        extractor = scoring.Extractor(models)
        rows = [[extractor(path) for path in sorted(folder.glob("*.wav"))] for folder in (made, true)]
        found[models["tagger"].backbone] = [{name: np.stack([row[name] for row in each]) for name in each[0]}
                                            for each in rows]
    return found


PROGRAMS: dict[str, Callable[[Path, Path], Numbers]] = {
    "frechet-audio-distance": by_frechet_audio_distance, "audioldm_eval": by_audioldm_eval, "fadtk": by_fadtk,
    "hear21passt": by_hear21passt, "torchaudio": by_torchaudio, "torchmetrics": by_torchmetrics,
}

if __name__ == "__main__":
    main()
