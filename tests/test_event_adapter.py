"""The adapter that tells a frozen AudioLDM when to sound."""

import numpy as np
import pytest
import torch
from conftest import plain_scene
from random_audioldm import random_audioldm
from soundworld import synthesise
from test_retiming import film_of
from v2a_pretraining.generator import adapter_for

from v2a_utils import pipeline
from v2a_utils.event_adapter import BLIND, EVENT, NAME, Control, EventAdapter, event_adapter, timeline
from v2a_utils.metrics.timing import matches
from v2a_utils.models.audioldm import Generator
from v2a_utils.options import SoundOptions
from v2a_utils.retiming import onsets

RATE = 16_000


def trained(adapter: EventAdapter) -> EventAdapter:
    """As if it had learned something: no layer is zero any more."""
    torch.manual_seed(0)
    for layer in adapter.leave:
        torch.nn.init.normal_(layer.weight, std=0.05)
    return adapter.eval()


@pytest.fixture(scope="module")
def real_form() -> Generator:
    """AudioLDM's own classes and vocoder, narrow and with random weights."""
    unet, vae, vocoder, scheduler = random_audioldm(16, (8, 16, 24, 32), (8, 16, 16), 32, layers=1, groups=8)
    return Generator(unet, vae, vocoder, scheduler, np.zeros(16, np.float32), clip_seconds=2.56)


def adapter_of(generator: Generator) -> EventAdapter:
    """A new one for a generator."""
    return adapter_for(generator.unet, generator.factor)


def test_a_timeline_has_a_pulse_for_every_event_and_says_where_nobody_knows():
    line = timeline(np.array([0.5, 1.2]), 256, 100, np.arange(256) > 200)
    assert line.shape == (2, 256) and line.dtype == np.float32
    assert np.flatnonzero(line[EVENT] > 0.99).tolist() == [50, 120] and line[EVENT].sum() < 12
    assert np.array_equal(line[BLIND] > 0, np.arange(256) > 200)
    assert not timeline(np.zeros(0), 256, 100).any()


def test_it_begins_by_changing_nothing_and_fits_the_real_generators_form(real_form, stack):
    for generator in (real_form, stack.generator):
        condition = np.eye(generator.embed_dim, dtype=np.float32)[:1]
        plain = generator.generate(condition, 2, seconds=2.56)
        told = [generator.generate(condition, 2, seconds=2.56, control=Control.by_films(
            generator, adapter, [film_of([0.5, 1.5])], 2.56))
            for adapter in (adapter_of(generator), trained(adapter_of(generator)))]
        assert np.array_equal(plain, told[0]) and np.abs(plain - told[1]).max() > 0.01 * np.abs(plain).max()


def test_a_sound_whose_film_shows_no_event_is_what_it_was(stack):
    generator = stack.generator
    conditions = np.eye(generator.embed_dim, dtype=np.float32)[:2]
    control = Control.by_films(generator, trained(adapter_of(generator)), [np.full(64, 0.2), film_of([1.0])], 2.56)
    plain, told = generator.generate(conditions, 2), generator.generate(conditions, 2, control=control)
    assert np.array_equal(plain[0], told[0]) and not np.allclose(plain[1], told[1], atol=1e-4)


def test_what_is_added_moves_with_the_events_and_knows_time_and_condition():
    adapter = trained(EventAdapter([[4, 0], [6, 1]], 8, 5))
    labels = torch.eye(5)[:1]

    def added(times, time=500, labels=labels):
        return adapter(torch.from_numpy(timeline(np.array(times), 256, 100))[None], time, labels)

    early, late = added([0.8]), added([0.8 + 2 * 0.08])  # two frames of the latents, one of those that are halved
    assert [tuple(each.shape) for each in early] == [(1, 4, 32, 1), (1, 6, 16, 1)]
    assert torch.allclose(early[0][:, :, 8:14], late[0][:, :, 10:16], atol=1e-4)
    for other in (added([0.83]), added([0.8], 900), added([0.8], 500, torch.eye(5)[1:2])):
        assert not torch.allclose(early[0], other[0], atol=1e-3)


def test_shots_that_show_nothing_are_told_as_such(real_form):
    moved = film_of([0.2])
    moved[32] = np.nan  # a cut
    line, = Control.by_films(real_form, adapter_of(real_form), [moved], 2.56).timelines.numpy()
    assert not line[BLIND, :120].any() and line[BLIND, 130:].all() and line[EVENT].argmax() == 20


def test_it_is_kept_beside_the_generator(tmp_path):
    assert EventAdapter.load(tmp_path) is None
    adapter = trained(EventAdapter([[4, 0]], 8, 5))
    adapter.save(tmp_path)
    found = EventAdapter.load(tmp_path)
    assert found.config == adapter.config and not found.training
    assert all(torch.allclose(value, found.state_dict()[name], atol=1e-3) for name, value in adapter.state_dict().items())
    (tmp_path / f"{NAME}.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=NAME):
        EventAdapter.load(tmp_path)


def test_the_shipped_one_lets_a_dog_bark_when_it_is_told(stack):
    adapter, generator = event_adapter(stack), stack.generator
    assert sum(each.numel() for each in adapter.parameters()) < 500_000
    condition = stack.audio.embed_audio([synthesise(plain_scene("dog", count=2))] * 2, RATE)
    times = [np.array([0.4, 1.2, 2.0]), np.array([0.3, 0.8])]
    control = Control.by_films(generator, adapter, [film_of(each) for each in times], 2.56)
    plain, told = generator.generate(condition, 12), generator.generate(condition, 12, control=control)
    hits = [[len(matches(each, onsets(wave, RATE), 0.08)) for each, wave in zip(times, made)] for made in (plain, told)]
    assert sum(hits[1]) > sum(hits[0]) and hits[1][0] >= 2 and hits[1][1] >= 1
    assert all(stack.tagger.top(wave, RATE)[0][0] == "dog" for wave in told)


def test_a_video_is_told_before_anything_is_moved(stack, monkeypatch):
    sound = synthesise(plain_scene("dog", count=2))[None]
    condition, options = stack.audio.embed_audio(list(sound), RATE), SoundOptions(steps=1, candidates=2)
    asked = []
    monkeypatch.setattr(pipeline, "event_adapter", lambda stack: adapter_of(stack.generator))
    monkeypatch.setattr(pipeline, "best_candidates", lambda *given: asked.append(given) or (np.roll(sound, 800, 1), None))
    monkeypatch.setattr(pipeline, "retimed", lambda *given, **_: pytest.fail("nothing is to be moved"))
    made = pipeline.in_time(stack, sound, condition, film_of([1.0]), options)
    assert np.array_equal(made, np.roll(sound, 800, 1)) and len(asked[0][5].timelines) == 2
    assert pipeline.in_time(stack, sound, condition, np.full(64, 0.2), options) is sound and len(asked) == 1
