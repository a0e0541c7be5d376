"""Closing the domain gap without training: maps from CLIP's space to CLAP's in closed form.

Every function takes training pairs of unit-norm rows, visual (n, visual_dim) and audio (n, audio_dim), and returns a
map (m, visual_dim) -> (m, audio_dim), unit norm. All are deterministic. Those that use no pairs, mean shift and CORAL,
pad narrower visual embeddings with zeros (`gap.widened`).
"""

from collections.abc import Callable

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.neighbors import NearestNeighbors

from v2a_utils.metrics.gap import widened
from v2a_utils.metrics.sounds import unit_norm

Map = Callable[[np.ndarray], np.ndarray]


def mean_shift(visual: np.ndarray, audio: np.ndarray) -> Map:
    """Add the gap vector: the centres meet, the axes stay unrelated (Liang et al. 2022, section 5)."""
    gap_vector = audio.mean(0) - widened(visual, audio.shape[1]).mean(0)
    return lambda rows: unit_norm(widened(rows, audio.shape[1]) + gap_vector)


def coral(visual: np.ndarray, audio: np.ndarray) -> Map:
    """Whiten with the pictures' covariance, colour with the sounds': mean and covariance agree, no pair is used.

    CORAL (Sun, Feng and Saenko 2016). It does not know which direction corresponds to which.
    """
    width = audio.shape[1]
    centre, target = widened(visual, width).mean(0), audio.mean(0)
    matrix = _root(_covariance(widened(visual, width)), -0.5) @ _root(_covariance(audio), 0.5)
    return lambda rows: unit_norm((widened(rows, width) - centre) @ matrix + target)


def procrustes(visual: np.ndarray, audio: np.ndarray) -> Map:
    """The best rotation between centred pairs (Schönemann 1966): all that a change of axes can do."""
    centre, target = visual.mean(0), audio.mean(0)
    left, _, right = np.linalg.svd((visual - centre).T @ (audio - target), full_matrices=False)
    return lambda rows: unit_norm((rows - centre) @ (left @ right) + target)


def ridge(visual: np.ndarray, audio: np.ndarray) -> Map:
    """Ridge regression: the linear map of least penalised squared error, the penalty chosen by leave-one-out."""
    model = RidgeCV(np.logspace(-4, 2, 7)).fit(visual, audio)
    return lambda rows: unit_norm(model.predict(rows))


def cca(visual: np.ndarray, audio: np.ndarray) -> Map:
    """Canonical correlation (Hotelling 1936): each canonical direction of the pictures becomes its partner's.

    Unlike a regression it does not shrink weakly correlated directions, so the cloud gets the sounds' covariance: CORAL
    with the right rotation in between.
    """
    centre, target = visual.mean(0), audio.mean(0)
    whiten, colour = _root(_covariance(visual), -0.5), _root(_covariance(audio), 0.5)
    cross = (visual - centre).T @ (audio - target) / len(visual)
    left, _, right = np.linalg.svd(whiten @ cross @ _root(_covariance(audio), -0.5), full_matrices=False)
    return lambda rows: unit_norm((rows - centre) @ whiten @ (left @ right) @ colour + target)


def nearest_neighbour(visual: np.ndarray, audio: np.ndarray) -> Map:
    """The training sound of the most similar training picture: always a real sound."""
    index = NearestNeighbors(n_neighbors=1, metric="cosine").fit(visual)
    return lambda rows: audio[index.kneighbors(rows, return_distance=False)[:, 0]]


CLOSED_FORM = {
    "mean shift": mean_shift, "CORAL": coral, "Procrustes": procrustes, "ridge": ridge, "CCA": cca,
    "nearest neighbour": nearest_neighbour,
}


def _covariance(rows: np.ndarray) -> np.ndarray:
    return np.cov(rows.astype(np.float64), rowvar=False)


def _root(matrix: np.ndarray, power: float) -> np.ndarray:
    """Power of a symmetric matrix, its eigenvalues kept away from 0."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * values.clip(1e-6 * values.max()) ** power) @ vectors.T
