"""Our measures against the peers' own code on the same features; each part is skipped where the peer is absent.

None of them is needed by the package. The extra `test` brings those that go with our pinned versions.
audioldm_eval (it asks for mysql-python, which no longer builds) and fadtk (it asks for transformers 4) do not: `pip
install --no-deps audioldm_eval` makes its three tests run, fadtk needs hypy_utils and more.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from v2a_utils.metrics.sounds import clip_scores, frechet_distance, inception_score, kl_divergence, rate_interval

CLASSES = 50


@pytest.fixture(scope="module")
def features():
    """Features as a tagger's after its ReLU: two correlated clouds (600, 64), single precision, many zeros."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(2, 64, 64)) / 8
    return [np.maximum(rng.normal(size=(600, 64)) @ mixing[k] + 0.3 * k, 0).astype(np.float32) for k in range(2)]


@pytest.fixture(scope="module")
def logits():
    """Class scores of 303 pairs of sounds, (303, 50) each, alike but not equal."""
    rng = np.random.default_rng(1)
    real = 3 * rng.normal(size=(303, CLASSES)) - 4
    return real.astype(np.float32), (real + rng.normal(size=real.shape)).astype(np.float32)


def peer_file(package: str, path: str):
    """A module of a package that is installed, without importing the package itself and all that it drags in."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        pytest.skip(f"{package} is not installed")
    file = Path(spec.submodule_search_locations[0]) / path
    module_spec = importlib.util.spec_from_file_location(f"peer_{package}_{file.stem}", file)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    return module


def as_dict(rows: np.ndarray, key: str) -> dict:
    """Features as audioldm_eval hands them about."""
    return {key: torch.from_numpy(rows), "file_path_": [f"{number}.wav" for number in range(len(rows))]}


# ---------------------------------------------------------------------------------------------- the Fréchet distance


def test_fd_is_audioldm_evals(features):
    fid = peer_file("audioldm_eval", "metrics/fid.py")
    theirs = fid.calculate_fid(*(as_dict(rows, "2048") for rows in features), "2048")["frechet_distance"]
    assert frechet_distance(*features) == pytest.approx(theirs, rel=1e-6)


def test_fad_is_that_of_frechet_audio_distance(features):
    peer = pytest.importorskip("frechet_audio_distance.fad").FrechetAudioDistance
    blank = peer.__new__(peer)  # its constructor would fetch a model
    moments = [value for rows in features for value in blank.calculate_embd_statistics(rows.astype(np.float64))]
    assert frechet_distance(*features) == pytest.approx(float(blank.calculate_frechet_distance(*moments)), rel=1e-6)


def test_fad_is_fadtks(features):
    fad = pytest.importorskip("fadtk.fad")
    moments = [value for rows in features for value in fad.calc_embd_statistics(rows.astype(np.float64))]
    assert frechet_distance(*features) == pytest.approx(float(fad.calc_frechet_distance(*moments)), rel=1e-6)


def test_fd_is_torchmetrics(features):
    compute = pytest.importorskip("torchmetrics.image.fid")._compute_fid
    moments = [torch.from_numpy(value) for rows in features
               for value in (rows.mean(0, dtype=np.float64), np.cov(rows.astype(np.float64), rowvar=False))]
    assert frechet_distance(*features) == pytest.approx(float(compute(*moments)), rel=1e-6)


# ----------------------------------------------------------------------------------------------------- classes heard


@pytest.mark.parametrize("outputs", ["softmax", "sigmoid"])
def test_kl_is_audioldm_evals(logits, outputs):
    kl = peer_file("audioldm_eval", "metrics/kl.py")
    real, made = logits
    theirs = kl.calculate_kl(as_dict(made, "logits"), as_dict(real, "logits"), "logits")[0]
    assert kl_divergence(real, made, outputs).mean() == pytest.approx(
        theirs[f"kullback_leibler_divergence_{outputs}"], rel=1e-6, abs=1e-6)


def test_inception_score_is_audioldm_evals(logits):
    isc = peer_file("audioldm_eval", "metrics/isc.py")
    theirs = isc.calculate_isc(as_dict(logits[0], "logits"), "logits", 2020, True, 10)
    ours = inception_score(logits[0])
    assert ours.mean() == pytest.approx(theirs["inception_score_mean"], rel=1e-6)
    assert ours.std() == pytest.approx(theirs["inception_score_std"], rel=1e-6)


def test_kl_is_torchmetrics(logits):
    divergence = pytest.importorskip("torchmetrics").KLDivergence()
    real, made = (torch.from_numpy(rows).double().softmax(1) for rows in logits)
    assert kl_divergence(*logits).mean() == pytest.approx(float(divergence(real, made)), abs=1e-3)  # it adds no 1e-6


# -------------------------------------------------------------------------------- what scikit-learn and SciPy have


def test_clip_score_is_a_hundred_cosines_of_scikit_learn(features):
    from sklearn.metrics.pairwise import paired_cosine_distances

    expected = 100 * (1 - paired_cosine_distances(*(rows.astype(np.float64) for rows in features)))
    assert clip_scores(*features) == pytest.approx(expected, abs=1e-9)


def test_accuracy_is_scikit_learns(logits):
    from sklearn.metrics import accuracy_score

    from v2a_utils.metrics.sounds import class_hits

    names = [f"class {number}" for number in range(CLASSES)]
    real, made = (rows.argmax(1) for rows in logits)
    ours = class_hits(logits[1], names, [{names[best]} for best in real])
    assert rate_interval(ours).value == accuracy_score(real, made)
