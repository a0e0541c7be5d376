"""Sounds in time with their films: events moved in a sound, and by the frozen generator."""

import av
import numpy as np
import pytest
import torch
from conftest import VIDEOS, plain_scene
from random_audioldm import random_audioldm
from soundworld import cut, events, film, make_scene, synthesise
from soundworld.layouts import mp4

from v2a_utils import pipeline
from v2a_utils.__main__ import main
from v2a_utils.data.audio import load_audio
from v2a_utils.data.media import thumbnails
from v2a_utils.metrics.timing import event_curve, matches, motion, offset, peaks, sound_curve
from v2a_utils.models.audioldm import Generator
from v2a_utils.models.mel import log_mel
from v2a_utils.pipeline import SoundOptions, video_to_sound
from v2a_utils.retiming import onsets, rearranged, retimed, wanted

RATE = 16_000


def film_of(times, frames: int = 64) -> np.ndarray:
    """The motion of a film in which something happens at these seconds, 25 frames a second."""
    moved = np.full(frames, 0.001)
    moved[np.round(np.asarray(times) * 25).astype(int)] = 1
    return moved


@pytest.mark.parametrize("times", [[0.5], [0.3, 1.1, 1.9], [0.1, 0.5, 0.9, 1.3, 1.7, 2.1]])
def test_events_begin_where_they_are_wanted(times):
    sound = synthesise(plain_scene("dog", count=2))
    moved = rearranged(sound, RATE, np.array(times))
    assert moved.shape == sound.shape and moved.dtype == sound.dtype
    assert len(matches(np.array(times), onsets(moved, RATE), 0.03)) == len(times) == len(onsets(moved, RATE))


def test_pieces_are_the_sounds_own():
    sound = synthesise(plain_scene("bells", distance=0.0))
    onset, = onsets(sound, RATE)
    moved = rearranged(sound, RATE, np.array([onset + 0.5]))
    start = round((onset + 0.5) * RATE)
    assert np.allclose(moved[start : start + 8000], sound[start - 8000 : start], atol=1e-6)
    assert not moved[: start - 400].any()


def test_without_onsets_or_wishes_the_sound_is_as_it_was():
    silence, sound = np.zeros(40_960, np.float32), synthesise(plain_scene("dog"))
    assert rearranged(silence, RATE, np.array([1.0])) is silence
    assert rearranged(sound, RATE, np.zeros(0)) is sound


def test_a_shot_that_shows_nothing_leaves_its_time_to_the_sound():
    sound = synthesise(plain_scene("dog", count=3))
    own = onsets(sound, RATE)
    moved = film_of([0.2])
    moved[32] = np.nan  # a cut, and nothing happens after it
    times = wanted(sound, RATE, moved)
    assert times[0] == pytest.approx(0.2, abs=0.02) and set(own[own > 1.3]) <= set(times)
    assert len(times) == 1 + (own * 25 >= 32).sum()
    assert not len(wanted(sound, RATE, np.full(64, 0.3)))


def test_the_generator_sounds_when_something_happens(stack):
    """Dogs' barks as the generator makes them, moved by half a second, and not a bit changed where nothing happens."""
    condition = stack.audio.embed_audio([synthesise(plain_scene("dog", count=2))] * 2, RATE)
    plain = stack.generator.generate(condition, steps=12)
    times = [0.5, 1.0, 1.7]
    films = [film_of(times), np.full(64, 0.2)]
    made = retimed(stack.generator, plain, condition, films, steps=12)
    assert np.array_equal(made[1], plain[1]) and not np.allclose(made[0], plain[0], atol=1e-3)
    found = onsets(made[0], RATE)
    assert len(matches(np.array(times), found, 0.08)) >= 2
    assert stack.tagger.top(made[0], RATE)[0][0] == "dog"
    assert np.array_equal(made, retimed(stack.generator, plain, condition, films, steps=12))


def test_it_works_with_the_real_generators_form():
    """AudioLDM's own classes and vocoder, narrow and with random weights."""
    unet, vae, vocoder, scheduler = random_audioldm(16, (8, 16, 24, 32), (8, 16, 16), 32, layers=1, groups=8)
    generator = Generator(unet, vae, vocoder, scheduler, np.zeros(16, np.float32), clip_seconds=2.56)
    condition = np.eye(16, dtype=np.float32)[:1]
    start = synthesise(plain_scene("dog", count=2))[None]
    assert torch.equal(torch.from_numpy(retimed(generator, start, condition, [np.zeros(64)], steps=2)),
                       torch.from_numpy(start))
    made = retimed(generator, start, condition, [film_of([0.5, 1.5])], steps=2)
    assert made.shape == start.shape and np.isfinite(made).all() and not np.array_equal(made, start)


# -------------------------------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def barking(tmp_path_factory):
    """The film of a near dog without a cut, with its true sound, and the scene."""
    scene = next(scene for scene in (make_scene("test", index) for index in range(900))
                 if scene.labels == ("dog",) and scene.things[0].distance < 0.5 and not len(cut(scene)))
    path = tmp_path_factory.mktemp("film") / "dog.mp4"
    path.write_bytes(mp4(film(scene), 25, synthesise(scene), RATE))
    return path, scene


def test_thumbnails_are_a_videos_frames(barking):
    frames, rate = thumbnails(barking[0], 0.4, 1.0, 50)
    assert rate == 25 and frames.shape == (15, 128, 128, 3)
    true = np.asarray(film(barking[1])[12], float)
    assert np.abs(frames[2] - true).mean() < 4 < np.abs(frames[2] - true[:, ::-1]).mean()
    assert len(thumbnails(barking[0], 2.0, 9.0, 25)[0]) == 14


def test_a_video_sounds_in_time(stack, barking):
    path, scene = barking
    options = SoundOptions(steps=12, candidates=1)
    plain, made = (video_to_sound(stack, path, options, sync=sync) for sync in (False, True))
    true = np.unique([event.seconds for event in events(scene)])
    assert made.waveform.shape == plain.waveform.shape
    hits = [len(matches(true, onsets(sound.waveform, RATE), 0.08)) for sound in (plain, made)]
    assert hits[1] >= max(hits[0], len(true) - 1)
    assert np.array_equal(made.mapped, plain.mapped)


def test_a_sound_that_would_no_longer_be_itself_stays_out_of_time(stack, monkeypatch):
    sound = synthesise(plain_scene("dog", count=2))[None]
    condition, options = stack.audio.embed_audio(list(sound), RATE), SoundOptions(steps=1)
    noise, tried = np.random.default_rng(0).normal(0, 0.1, sound.shape).astype(np.float32), []
    monkeypatch.setattr(pipeline, "event_adapter", lambda stack: None)
    monkeypatch.setattr(pipeline, "retimed", lambda *given, **_: tried.append(given[4]) or noise)
    assert pipeline.in_time(stack, sound, condition, film_of([1.0]), options) is sound and len(set(tried)) == 2
    monkeypatch.setattr(pipeline, "retimed", lambda *given, **_: np.roll(sound, 800, 1))
    assert not np.array_equal(pipeline.in_time(stack, sound, condition, film_of([1.0]), options), sound)


def test_the_command_writes_it_and_refuses_pictures(barking, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["sound", str(barking[0]), "--video", "--sync", "--steps", "2", "--candidates", "1", "--out",
                 str(out)]) == 0
    with av.open(str(out / "dog.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
    assert main(["sound", str(barking[0]), "--sync", "--out", str(out)]) == 2
    assert "--sync is for --video" in capsys.readouterr().err


def test_a_still_video_keeps_its_sound(stack, tmp_path):
    picture = film(plain_scene("dog"), 1)[0]
    (tmp_path / "still.mp4").write_bytes(mp4([picture] * 64, 25, np.zeros(40_960, np.float32), RATE))
    sounds = [video_to_sound(stack, tmp_path / "still.mp4", SoundOptions(steps=2, candidates=1), sync=sync).waveform
              for sync in (False, True)]
    assert np.array_equal(*sounds)


@pytest.mark.skipif(not VIDEOS, reason="../shared/real/vggsound is absent")
def test_a_real_drummer_is_seen_to_drum():
    """Strokes on a pad: motion and sound fit within two frames, and far better than a third of a second apart."""
    frames, rate = thumbnails(VIDEOS[0], 0, 10, 25)
    curve, sound = event_curve(motion(frames), rate), load_audio(VIDEOS[0], RATE, 10)
    seen, heard = peaks(curve, rate), onsets(sound, RATE)
    assert abs(offset(curve, sound_curve(log_mel(torch.from_numpy(sound)[None])[0].numpy()), rate, 100)) <= 0.08
    assert len(matches(heard, seen + 0.05, 0.05)) > 1.5 * len(matches(heard, seen + 0.37, 0.05))
