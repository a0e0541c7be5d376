"""Numbers that are neither stale nor another clip's: windows of time, samples, keys, caches, tables of any writer."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from conftest import halves, sine, unit_rows
from pyarrow import parquet
from torch import nn

from v2a_utils.data import files
from v2a_utils.data.audio import even_loudness, load_audio, loudness
from v2a_utils.data.batches import MAPPER, row_generators
from v2a_utils.data.files import key
from v2a_utils.data.pairs import read_pairs
from v2a_utils.data.sources import FileSource, open_source
from v2a_utils.evaluation.clips import world_clips
from v2a_utils.mappers import own
from v2a_utils.mappers.model import DiffusionMapper, RegressionMapper
from v2a_utils.mappers.own import validation_loss
from v2a_utils.mappers.registry import save_mapper, trained_mapper
from v2a_utils.mappers.training import TrainConfig, fit
from v2a_utils.metrics.sounds import inception_score
from v2a_utils.stacks import extraction
from v2a_utils.stacks.extraction import world_store

# ------------------------------------------------------------------------------------------------------- time

RATE, FPS = 16_000, 10


def film(path: Path, sound_at: float = 0.0, picture_at: float = 0.0, seconds: float = 4.0) -> Path:
    """A film whose picture turns from dark to light, and whose silence turns to a tone, 3 s after second 0."""
    with av.open(str(path), "w") as container:
        video, audio = container.add_stream("libx264", rate=FPS), container.add_stream("aac", rate=RATE, layout="mono")
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.max_b_frames, video.codec_context.gop_size = 0, 5
        for number in range(round(picture_at * FPS), round(seconds * FPS)):
            level = 230 if number >= 3 * FPS else 30
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(frame))
        wave = sine(440, RATE, round(seconds * RATE))
        wave[: 3 * RATE] *= 0
        sound = av.AudioFrame.from_ndarray(wave[None, round(sound_at * RATE) :], format="fltp", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = RATE, round(sound_at * RATE), Fraction(1, RATE)
        for part in av.AudioResampler(audio.format, audio.layout, audio.rate).resample(sound):
            container.mux(audio.encode(part))
        for stream in (video, audio):
            container.mux(stream.encode(None))
    return path


def copied(source: Path, path: Path, shift: float = 0.0, after: float = 0.0) -> Path:
    """The packets of a film from second `after` on, as they are, all times moved by `shift` seconds."""
    with av.open(str(source)) as old, av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as new:
        streams = {stream: new.add_stream_from_template(stream) for stream in old.streams}
        for packet in old.demux():
            if packet.dts is None or packet.pts * packet.time_base < after:
                continue
            moved = round(shift / packet.time_base)
            packet.pts, packet.dts = packet.pts + moved, packet.dts + moved
            packet.stream = streams[packet.stream]
            new.mux(packet)
    return path


def turns(path: Path) -> tuple[float, float]:
    """Seconds from the window's start at which the picture turns light, and at which the tone begins."""
    clip = FileSource("a", None, None, str(path), str(path)).decode(FPS, range, 10.0)
    light = [np.asarray(frame).mean() > 128 for frame in clip.frames]
    return light.index(True) / FPS, float((np.abs(clip.waveform) > 0.1).argmax()) / clip.sample_rate


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize("starts", [{}, {"sound_at": 2.0}, {"picture_at": 2.0}], ids=["together", "sound", "picture"])
def test_sound_and_picture_are_of_the_same_seconds_whichever_begins_later(tmp_path, suffix, starts):
    seen, heard = turns(film(tmp_path / f"film.{suffix}", **starts))
    assert seen == pytest.approx(3 - starts.get("picture_at", 0), abs=0.11) and heard == pytest.approx(seen, abs=0.11)


@pytest.mark.parametrize("shift, after, suffix", [(-1.0, 0.0, "mkv"), (5.0, 0.0, "mkv"), (0.0, 1.0, "mp4"),
                                                  (-1.5, 0.0, "mp4"), (7.0, 0.0, "ts")],
                         ids=["negative start", "late start", "stream copy", "edit list", "transport stream"])
def test_sound_and_picture_stay_together_in_films_cut_without_encoding(tmp_path, shift, after, suffix):
    whole = film(tmp_path / "whole.mp4", sound_at=0.5)
    seen, heard = turns(copied(whole, tmp_path / f"cut.{suffix}", shift, after))
    assert heard == pytest.approx(seen, abs=0.13)


def test_a_limit_counts_the_silence_before_a_sound_that_begins_later(tmp_path):
    assert len(load_audio(film(tmp_path / "film.mp4", sound_at=1.0), RATE, 2.0)) == 2 * RATE


# --------------------------------------------------------------------------------------------------- samples, noise


def test_a_limited_listing_is_a_sample_that_can_grow_and_not_the_first_classes(tmp_path):
    for label in "abcdefghij":
        (tmp_path / label).mkdir()
        for number in range(10):
            halves((0, 0, 0), (9, 9, 9)).save(tmp_path / label / f"{number}.png")
            (tmp_path / label / f"{number}.wav").write_bytes(b"")
    thirty, ten = (open_source(str(tmp_path), limit=limit) for limit in (30, 10))
    assert len({source.label for source in thirty.sources}) >= 8
    assert [source.id for source in ten.sources] == [source.id for source in thirty.sources[:10]]
    assert open_source(str(tmp_path), limit=10, seed=1).sources != ten.sources
    assert [source.id for source in open_source("soundworld:test", limit=3).sources] == [
        source.id for source in open_source("soundworld:test", limit=5).sources[:3]]


def test_mapper_and_generator_draw_other_noise_from_the_same_seed(stack, monkeypatch):
    mapper, generator = (row_generators(range(3), 7, *salt) for salt in ((MAPPER,), ()))
    drawn = [torch.stack([torch.randn(64, generator=row) for row in rows]) for rows in (mapper, generator)]
    assert (drawn[0] - drawn[1]).abs().min(1).values.max() > 0 and abs(np.corrcoef(*(d.ravel() for d in drawn))[0, 1]) < 0.2
    fresh = DiffusionMapper(stack.vision.embed_dim, stack.audio.embed_dim, width=32, depth=1)
    noises, original = [], torch.randn

    def kept(*arguments, **settings):
        noises.append(original(*arguments, **settings))
        return noises[-1]

    monkeypatch.setattr(torch, "randn", kept)
    condition = fresh.map(unit_rows(1, stack.vision.embed_dim), steps=1)
    of_mapper = noises[0].ravel()
    stack.generator.generate(condition, steps=1)
    assert len(noises) > 1 and all(not torch.equal(of_mapper, noise.ravel()[: len(of_mapper)]) for noise in noises[1:])


def test_hiss_far_below_hearing_is_not_made_louder_and_a_quiet_sound_is():
    hiss = np.random.default_rng(0).normal(size=16_000).astype(np.float32)
    assert loudness(even_loudness(hiss * 1e-5)) == pytest.approx(-100, abs=2)
    assert loudness(even_loudness(hiss * 1e-3)) == pytest.approx(-20, abs=2)


def test_a_contrastive_mapper_does_not_count_a_pair_among_its_own_negatives():
    mapper, rows = RegressionMapper(8, 8, objective="contrastive"), unit_rows(8, 8)
    mapper.forward = lambda visual: visual  # a perfect one
    once = float(mapper.loss(torch.from_numpy(rows), torch.from_numpy(rows), None))
    assert validation_loss(mapper, rows, rows) == pytest.approx(once) and once < 0.5


def test_the_inception_score_of_parts_is_that_of_shuffled_ones():
    logits = np.repeat(8 * np.eye(10), 10, 0)  # sorted by class: each part in order would hold one class
    assert inception_score(logits, 10).min() > 3
    order = np.random.RandomState(2020).permutation(100)
    assert inception_score(logits, 10)[0] == pytest.approx(inception_score(logits[order[:10]], 1)[0])


def test_validation_pairs_are_spread_over_the_whole_listing(monkeypatch):
    monkeypatch.setattr(own, "JUDGED", 5)
    assert own._spread(np.arange(101)).tolist() == [0, 25, 50, 75, 100] and own._spread(np.arange(3)).tolist() == [0, 1, 2]


def test_weights_are_averaged_from_a_tenth_of_the_steps_on():
    network, averages = nn.Linear(1, 1, bias=False), []
    losses = fit(network, lambda model, rows, generator: -model.weight.sum(), 4, TrainConfig(20, 4, 0.1, warmup=1, ema=0.5),
                 callback=lambda averaged, losses: averages.append(float(averaged.weight.detach())))
    weights = [-loss for loss in losses[1:]]  # after each step but the last
    begun = weights[0]
    for place, weight in enumerate(weights):
        begun = weight if place <= 2 else 0.5 * begun + 0.5 * weight
        assert averages[place] == pytest.approx(begun, abs=1e-6)


def test_clips_of_some_ids_keep_what_belongs_together(stack):
    clips = world_clips(stack, "test", 4)
    chosen = clips.select([clips.ids[2], clips.ids[0]])
    assert chosen.ids == [source.id for source in chosen.sources] == [clips.ids[2], clips.ids[0]]
    assert np.array_equal(chosen.visual, clips.visual[[2, 0]]) and np.array_equal(chosen.audio, clips.audio[[2, 0]])


# ------------------------------------------------------------------------------------------------------ keys


def test_a_key_changes_with_each_thing_that_made_the_result(monkeypatch):
    made_of = {"weights": "abc", "settings": FileSource("a", None, None, "b", None), "rows": unit_rows(3, 4),
               "seeds": [1, 2], "path": Path("a"), "nested": {"b": {"rows": np.arange(3)}}, "flags": frozenset("ab")}
    first, others = key(**made_of), [
        {"weights": "abd"}, {"settings": FileSource("a", None, None, "c", None)}, {"rows": unit_rows(3, 4, 1)},
        {"rows": unit_rows(3, 4).astype(np.float64)}, {"rows": unit_rows(3, 4).reshape(4, 3)}, {"seeds": [2, 1]},
        {"path": Path("b")}, {"nested": {"b": {"rows": np.arange(1, 4)}}}, {"flags": frozenset("ac")}, {"more": None}]
    keys = [key(**made_of | other) for other in others]
    assert key(**dict(reversed(made_of.items()))) == first
    monkeypatch.setattr(files, "__version__", "99")
    assert len({first, key(**made_of), *keys}) == 2 + len(others)
    with pytest.raises(TypeError, match="no content"):
        key(model=object())


def test_a_changed_world_or_version_has_embeddings_of_its_own(tmp_path, stack, monkeypatch):
    monkeypatch.setenv("V2A_CACHE", str(tmp_path))
    paths = {world_store(stack, "test", 2, seed=1).path}
    monkeypatch.setattr(extraction, "world_code", lambda: "edited")
    paths.add(world_store(stack, "test", 2, seed=1).path)
    monkeypatch.setattr(files, "__version__", "99")
    paths.add(world_store(stack, "test", 2, seed=1).path)
    assert len(paths) == 3


def test_shipped_embeddings_of_a_world_that_changed_are_not_used(tmp_path, stack, monkeypatch):
    monkeypatch.setenv("V2A_CACHE", str(tmp_path))
    monkeypatch.setattr(extraction, "draw", lambda scene: halves((9, 9, 9), (200, 0, 0)))
    assert len(world_store(stack, "val", 2)) == 2  # embedded, not the thousands that are shipped


def test_a_mapper_trained_anew_at_the_same_place_is_loaded_anew(tmp_path, stack):
    for seed in (0, 1):
        torch.manual_seed(seed)
        mapper = RegressionMapper(stack.vision.embed_dim, stack.audio.embed_dim)
        save_mapper(mapper, tmp_path, overwrite=True)
        rows = unit_rows(2, stack.vision.embed_dim)
        assert np.allclose(trained_mapper(stack, str(tmp_path)).map(rows), mapper.eval().map(rows), atol=1e-3)
        assert trained_mapper(stack, str(tmp_path)) is trained_mapper(stack, str(tmp_path))


# ------------------------------------------------------------------------------------------- tables of any writer


def table_of(visual, **columns) -> dict:
    rows = len(visual)
    return {"id": [f"c{row}" for row in range(rows)], "split": ["train"] * (rows - 8) + ["val"] * 8,
            "visual": visual, "audio": list(unit_rows(rows, 6, 1))} | columns


def test_tables_that_pandas_and_others_write_are_read(tmp_path):
    rows = unit_rows(40, 5)
    pd.DataFrame(table_of(list(rows))).to_parquet(tmp_path / "pandas.parquet")
    large = pa.array(rows.tolist(), pa.large_list(pa.float64()))
    parquet.write_table(pa.table(table_of(large, id=list(range(40)))), tmp_path / "large.parquet")
    for name in ("pandas", "large"):
        pairs = read_pairs(tmp_path / f"{name}.parquet")
        assert np.allclose(pairs.train[0], rows[:32], atol=1e-6) and np.allclose(pairs.val[0], rows[32:], atol=1e-6)
        assert len(pairs.notes) == 1


def test_a_clip_without_frames_is_refused_with_its_row_and_does_not_take_the_next_clips(tmp_path):
    frames = [[row.tolist()] for row in unit_rows(40, 5)]
    parquet.write_table(pa.table(table_of(pa.array(frames))), tmp_path / "frames.parquet")
    assert np.allclose(read_pairs(tmp_path / "frames.parquet").train[0], unit_rows(40, 5)[:32], atol=1e-6)
    frames[5] = []
    parquet.write_table(pa.table(table_of(pa.array(frames))), tmp_path / "frames.parquet")
    with pytest.raises(ValueError, match="row 5 does not hold"):
        read_pairs(tmp_path / "frames.parquet")


def test_lists_of_different_sizes_are_refused(tmp_path):
    ragged = [row[: 5 - (number == 3)].tolist() for number, row in enumerate(unit_rows(40, 5))]
    parquet.write_table(pa.table(table_of(pa.array(ragged))), tmp_path / "ragged.parquet")
    with pytest.raises(ValueError, match="row 3 does not hold a list of numbers in the column visual"):
        read_pairs(tmp_path / "ragged.parquet")
