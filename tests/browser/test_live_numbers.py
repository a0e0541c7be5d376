"""The live page's numbers against the package's: every stage in JavaScript, in a blank page of a real browser."""

import json

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image

from v2a_utils.data.audio import even_loudness
from v2a_utils.data.batches import MAPPER, row_generators
from v2a_utils.mappers import trained_mapper
from v2a_utils.mappers.model import SAMPLERS, _scheduler
from v2a_utils.models.mel import LogMelPower
from v2a_utils.models.vocoder import GriffinLimVocoder
from v2a_utils.stacks import load_stack

SCRIPTS = ROOT / "notebooks" / "book" / "live" / "js"
STAGES = ("numbers", "picture", "mapper", "generator", "vocoder", "listener")


@pytest.fixture(scope="module")
def stack():
    return load_stack("mini", "cpu")


@pytest.fixture(scope="module")
def script(browser):
    """A function that runs an expression on named NumPy arrays and plain values in a page with all the stages."""
    page = browser.new_page()
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    stages = "\n".join((SCRIPTS / f"{name}.js").read_text() for name in STAGES)
    page.add_script_tag(content=f"let config = {{}}, tensors = {{}}, banks = {{}}, run;\n{stages}")

    def evaluate(expression: str, **values):
        page.evaluate("""values => {
            const table = ({shape, values}) => ({shape, values: Float32Array.from(values)});
            Object.assign(window, Object.fromEntries(Object.entries(values).map(
                ([name, value]) => [name, value?.shape ? table(value) : value])));
        }""", {name: {"shape": value.shape, "values": np.float64(value).ravel().tolist()}
               if isinstance(value, np.ndarray) else value for name, value in values.items()})
        return page.evaluate(f"""async () => {{
            const answer = await (async () => {{ {expression} }})();
            return JSON.stringify(answer, (_, one) => ArrayBuffer.isView(one) ? Array.from(one) : one);
        }}""")

    def run(expression: str, **values):
        return json.loads(evaluate(expression, **values))

    yield run
    page.close()


@pytest.mark.parametrize("seed", [0, 7, 2**31 + 5, 2**32 - 1])
@pytest.mark.parametrize("number, salt", [(64, [MAPPER]), (100, []), (4096, [])])
def test_a_seed_draws_what_it_draws_in_the_package(script, seed, number, salt):
    drawn = script("return rowGenerator(seed, ...salt).normal(number);", seed=seed, number=number, salt=salt)
    assert np.allclose(drawn, torch.randn(number, generator=row_generators([0], seed, *salt)[0]), atol=1e-5)


@pytest.mark.parametrize("width, height, exact", [(128, 128, True), (96, 96, True), (131, 97, True), (224, 224, True),
                                                   (40, 33, True), (97, 200, False), (640, 451, False)])
def test_a_picture_is_cut_and_resized_to_the_same_bytes(script, stack, width, height, exact):
    """Pillow resamples some shapes' columns before their rows; rounding between the two then falls elsewhere."""
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 4), np.uint8)
    pixels[..., :2] = np.linspace(0, 255, width, dtype=np.uint8)[None, :, None]
    resize, crop, *_ = stack.vision.preprocess.transforms
    got = script("return fitted({width, height, data}, resize, size);", width=width, height=height,
                 data=pixels.ravel().tolist(), resize=resize.size, size=crop.size[0])
    away = np.abs(got - stack.vision.fit(Image.fromarray(pixels[..., :3])).flatten().numpy().astype(float))
    assert away.max() == 0 if exact else away.mean() < 0.5 and away.max() < 40


@pytest.mark.parametrize("steps", [1, 2, 3, 12, 16, 25, 50])
@pytest.mark.parametrize("which", ["generator", "mapper"])
def test_every_step_of_the_solver_is_the_librarys(script, stack, which, steps):
    scheduler = stack.generator._scheduler("dpm++") if which == "generator" else SAMPLERS["dpm++"]()
    scheduler.set_timesteps(steps)
    rng = np.random.default_rng(steps)
    noise, answers = rng.normal(size=48).astype(np.float32), rng.normal(size=(steps, 48)).astype(np.float32)
    kept = scheduler.alphas_cumprod.double().numpy()
    got = script("""
        const solver = new DpmSolver(sigmas.values, predicts, steps), states = [];
        let step = 0;
        await solver.walk(noise.values, async () => rowOf(answers, step++), noisy => { states.push(noisy); });
        return {times: solver.times, states};""",
        sigmas=np.sqrt((1 - kept) / kept), predicts=scheduler.config.prediction_type, steps=steps, noise=noise,
        answers=answers)
    assert got["times"] == scheduler.timesteps.tolist()
    latents = torch.from_numpy(noise)
    for answer, time, state in zip(answers, scheduler.timesteps, got["states"], strict=True):
        latents = scheduler.step(torch.from_numpy(answer), time, latents).prev_sample
        assert np.allclose(state, latents, atol=2e-4)


def test_a_stopped_walk_answers_with_the_clean_signal_of_its_last_step(script):
    got = script("""
        const solver = new DpmSolver(sigmas.values, "sample", 5);
        return solver.walk(noise.values, async () => Float32Array.of(3, 4), (noisy, clean, step) => step < 2);""",
        sigmas=np.linspace(0.1, 20, 1000), noise=np.zeros(2))
    assert got == [3, 4]


@pytest.mark.parametrize("steps", [1, 4, 8])
def test_every_step_of_the_flow_is_the_librarys(script, steps):
    scheduler = _scheduler("flow", steps)
    noise = np.random.default_rng(0).normal(size=48).astype(np.float32)
    got = script("""
        config = {trainSteps: 1000};
        const times = [], states = [];
        const guess = async (noisy, time) => { times.push(time); return noisy.map(v => Math.sin(v) * 0.5); };
        await straightWalk(noise.values, steps, guess, noisy => { states.push(noisy); });
        return {times, states};""", noise=noise, steps=steps)
    noisy = torch.from_numpy(noise)
    for time, row, state in zip(scheduler.timesteps, got["times"], got["states"], strict=True):
        assert row == int(time.round()) - 1
        noisy = scheduler.step((noisy - noisy.sin() * 0.5) * 1000 / time, time, noisy).prev_sample
        assert np.allclose(state, noisy, atol=1e-5)


VOCODER = """
    const mel = logMels.values.map(Math.exp), bank = new MelBank(filters);
    config = {vocoder};
"""


@pytest.fixture(scope="module")
def tone():
    """A vocoder without a network, and the log-mels (frames, mels) of a chord that ends halfway."""
    vocoder = GriffinLimVocoder(rescale_every=8)
    seconds = torch.arange(16_000) / 16_000
    wave = sum(torch.sin(2 * np.pi * pitch * seconds) for pitch in (220, 330, 1234)) * (seconds < 0.5) * 0.1
    window = torch.hann_window(1024)
    magnitude = torch.stft(wave, 1024, 160, window=window, return_complex=True).abs().T
    return vocoder, (magnitude @ vocoder.filters.T).clamp(min=1e-5).log()


def settings_of(vocoder) -> dict:
    kept = {name: vocoder.config[name] for name in ("n_fft", "iterations", "momentum", "rescale_every", "updates")}
    return kept | {"hop": vocoder.config.upsample_rates[0], "most": 10.0}


def test_the_mel_equation_is_solved_alike(script, tone):
    vocoder, log_mels = tone
    guess = vocoder._first_guess(log_mels[None])[0]
    got = script(VOCODER + "run = async () => guess.values; return magnitudes(logMels.values, bank);",
                 logMels=log_mels.numpy(), filters=vocoder.filters.numpy(), guess=guess.numpy(),
                 vocoder=settings_of(vocoder))
    ours = vocoder.magnitudes(log_mels[None])[0].flatten().numpy()
    assert np.allclose(got, ours, rtol=1e-3, atol=1e-4 * ours.max())


@pytest.mark.parametrize("iterations, away", [(1, 0.002), (2, 0.002), (3, 0.01), (32, 0.05)])
def test_griffin_lim_finds_the_same_wave(script, tone, iterations, away):
    """The iteration amplifies rounding, so the waves grow apart with its turns."""
    vocoder, log_mels = tone
    vocoder = GriffinLimVocoder(rescale_every=2 if iterations == 3 else 8, iterations=iterations)
    magnitude = vocoder.magnitudes(log_mels[None])[0]
    ours = vocoder._with_phases(magnitude, log_mels.exp()).numpy()
    got = np.array(script(VOCODER + "return griffinLim(magnitude.values, mel, bank);", logMels=log_mels.numpy(),
                          magnitude=magnitude.numpy(), filters=vocoder.filters.numpy(), vocoder=settings_of(vocoder)))
    error = np.sqrt(((got - ours) ** 2).mean() / (ours**2).mean())
    assert got.shape == ours.shape and error < away


def test_the_tagger_hears_the_same_levels(script, stack):
    wave = np.random.default_rng(0).normal(size=8000).astype(np.float32) * 0.1
    ear = stack.tagger.model.log_mel
    got = script("""
        banks = {tagger: new MelBank(filters)}; config = {tagger: {n_fft, hop}};
        return logMelPower(wave.values);""", wave=wave, filters=ear.filters.numpy(), n_fft=ear.n_fft, hop=ear.hop)
    assert np.allclose(got, ear(torch.from_numpy(wave)[None])[0, 0].flatten(), atol=1e-3)
    assert isinstance(ear, LogMelPower)


@pytest.mark.parametrize("gain", [0.0, 0.001, 0.1, 3.0])
def test_loudness_is_evened_alike(script, gain):
    wave = np.random.default_rng(0).normal(size=40_960).astype(np.float32) * gain
    wave[20_000:] *= 0.05
    got = script("config = {loudness: -20}; return evened(wave.values);", wave=wave)
    assert np.allclose(got, even_loudness(wave), atol=1e-5)


def test_words_and_familiarity_answer_alike(script, stack):
    bridge, familiar = trained_mapper(stack, "words"), stack.familiarity
    rows = stack.vision.embed_images([Image.new("RGB", (128, 128), colour) for colour in ("red", "white", "teal")])
    for row, mapped, far in zip(rows, bridge.map(rows), familiar.distance(rows)):
        got = script("""
            config = {words: {visualScale: scale}, audioDim: answers.shape[1]};
            tensors = {seen, answers, mean, precision};
            return [overWords(row.values), distance(row.values)];""",
            row=row, seen=bridge.seen.numpy(), answers=bridge.answers.numpy(), scale=bridge.config["visual_scale"],
            mean=familiar.mean, precision=familiar.precision)
        assert np.allclose(got[0], mapped, atol=1e-5) and got[1] == pytest.approx(far, rel=1e-3)


def test_a_photographs_sound_is_drawn_by_its_class(script):
    """Sounds by the class's shares: the frequencies of 2,000 draws."""
    got = script("""
        config = {mapperSalt: 1};
        tensors = {sounds, soundsOfClass};
        return Array.from({length: 2000}, (_, seed) => drawnSound(1, seed)[0]);""",
        soundsOfClass=np.array([[1, 0], [0.25, 0.75]]), sounds=np.eye(2))
    assert abs(np.mean(got) - 0.25) < 0.04


def test_a_mirrored_picture_is_turned_round(script):
    pixels = np.arange(3 * 4 * 4.0).reshape(3, 4, 4)
    got = script("return mirrored(pixels.values, 4);", pixels=pixels)
    assert np.array_equal(np.reshape(got, (3, 4, 4)), pixels[..., ::-1])
