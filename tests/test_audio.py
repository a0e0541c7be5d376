"""Sound files, mel spectrograms, CLAP's front end and encoder, and the vocoder."""

import numpy as np
import pytest
import soundfile
import torch
from conftest import RECORDINGS, assert_one_sentence, main_frequency, plain_scene, sine
from soundworld import NUM_SAMPLES, SAMPLE_RATE, make_scene, synthesise
from torchlibrosa.stft import LogmelFilterBank, Spectrogram
from v2a_pretraining.generator import FAINT

from v2a_utils.data.audio import LOUDNESS, even_loudness, load_audio, save_audio
from v2a_utils.models.clap import AudioEncoder
from v2a_utils.models.mel import MEL_FLOOR, log_mel, magnitudes, mel_filters
from v2a_utils.models.vocoder import GriffinLimVocoder, LearnedVocoder


@pytest.fixture(scope="module")
def sounds() -> np.ndarray:
    """Eight sounds of SoundWorld's test split, (8, NUM_SAMPLES)."""
    return np.stack([synthesise(make_scene("test", index)) for index in range(8)])


# ------------------------------------------------------------------------------------------------------ spectrograms


def test_front_end_of_clap_gives_the_numbers_of_torchlibrosa(stack, sounds):
    config = stack.audio.model.config["audio_cfg"]
    spectrogram = Spectrogram(
        n_fft=config["window_size"], hop_length=config["hop_size"], win_length=config["window_size"], window="hann",
        center=True, pad_mode="reflect", freeze_parameters=True,
    )
    logmel = LogmelFilterBank(
        sr=config["sample_rate"], n_fft=config["window_size"], n_mels=config["mel_bins"], fmin=config["fmin"],
        fmax=config["fmax"], ref=1.0, amin=1e-10, top_db=None, freeze_parameters=True,
    )
    waveforms = torch.from_numpy(sounds)
    ours = stack.audio.model.audio_branch.spectrogram_extractor(waveforms)
    theirs = logmel(spectrogram(waveforms))
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() < 0.02


def test_log_mel_has_one_frame_per_hop_and_64_bands(sounds):
    mels = log_mel(torch.from_numpy(sounds))
    assert mels.shape == (8, NUM_SAMPLES // 160, 64)
    assert mels.min() >= np.log(MEL_FLOOR) - 1e-5


@pytest.mark.parametrize("frequency", [250, 1000, 3000, 6000])
def test_log_mel_of_a_sine_is_where_and_as_loud_as_computed(frequency):
    mel = log_mel(torch.from_numpy(sine(frequency, amplitude=0.5))[None])[0, 100]
    bank = mel_filters(16_000, 1024, 64, 0, 8000)
    bins = torch.arange(513) * 16_000 / 1024
    frames = torch.hann_window(1024, dtype=torch.float64) * torch.from_numpy(sine(frequency, samples=1024)).double()
    spectrum = torch.fft.rfft(frames).abs().float()  # of a centred frame: only its phase differs
    assert mel.argmax() == (bank @ spectrum).argmax()
    assert mel.max() == pytest.approx(float((bank @ spectrum).max().log()), abs=0.05)
    peak = (bank[mel.argmax()] * bins).sum() / bank[mel.argmax()].sum()
    assert float(peak) == pytest.approx(frequency, rel=0.1)


def test_log_mel_doubles_with_the_amplitude_and_floors_silence():
    quiet, loud = (log_mel(torch.from_numpy(sine(1000, amplitude=a))[None])[0, 100].max() for a in (0.2, 0.4))
    assert float(loud - quiet) == pytest.approx(np.log(2), abs=1e-3)
    assert torch.allclose(log_mel(torch.zeros(1, 16_000)), torch.tensor(MEL_FLOOR).log())


# ---------------------------------------------------------------------------------------------------------- loudness


@pytest.mark.parametrize("amplitude", [1e-3, 0.05, 0.9])
def test_even_loudness_brings_a_steady_sound_to_its_level(amplitude):
    louder = even_loudness(sine(440, amplitude=amplitude))
    assert 20 * np.log10(np.sqrt((louder**2).mean())) == pytest.approx(LOUDNESS, abs=0.1)


def test_even_loudness_keeps_peaks_below_one():
    click = np.zeros(16_000, np.float32)
    click[5000] = 0.5
    click[8000:] = 0.001 * np.random.default_rng(0).standard_normal(8000)
    assert np.abs(even_loudness(click)).max() == pytest.approx(0.99, abs=1e-5)


@pytest.mark.parametrize("name", ["dog", "rain", "bells", "police"])
def test_even_loudness_takes_distance_out_of_the_level(name):
    near, far = (even_loudness(synthesise(plain_scene(name, distance=d))) for d in (0.0, 0.6))
    loudest = [np.sort((sound.reshape(-1, 640) ** 2).mean(1))[-20:].mean() for sound in (near, far)]
    assert abs(10 * np.log10(loudest[0] / loudest[1])) < 3
    assert max(np.abs(near).max(), np.abs(far).max()) < 1


@pytest.mark.parametrize("length", [0, 1, 300, 16_000])
def test_silence_stays_silence(length):
    silence = np.zeros(length, np.float32)
    assert np.array_equal(even_loudness(silence), silence)


# ------------------------------------------------------------------------------------------------------------- files


def test_saved_sound_is_16_bit_pcm_and_comes_back(tmp_path, sounds):
    save_audio(tmp_path / "dog.wav", sounds[0], SAMPLE_RATE)
    info = soundfile.info(tmp_path / "dog.wav")
    assert (info.format, info.subtype, info.samplerate, info.channels) == ("WAV", "PCM_16", SAMPLE_RATE, 1)
    back = load_audio(tmp_path / "dog.wav", SAMPLE_RATE)
    assert back.dtype == np.float32 and np.abs(back - sounds[0]).max() <= 1 / 32_768
    assert [path.name for path in tmp_path.iterdir()] == ["dog.wav"]  # no temporary file is left


def test_saving_over_a_file_replaces_it(tmp_path):
    for frequency in (300, 600):
        save_audio(tmp_path / "a.wav", sine(frequency), SAMPLE_RATE)
    assert main_frequency(load_audio(tmp_path / "a.wav", SAMPLE_RATE), SAMPLE_RATE) == pytest.approx(600, abs=2)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_loading_resamples_and_keeps_the_frequency(tmp_path, rate):
    soundfile.write(tmp_path / "tone.wav", sine(700, rate, 2 * rate), rate)
    tone = load_audio(tmp_path / "tone.wav", SAMPLE_RATE)
    assert len(tone) == pytest.approx(2 * SAMPLE_RATE, abs=2)
    assert main_frequency(tone, SAMPLE_RATE) == pytest.approx(700, abs=1.5)


def test_loading_mixes_channels_down(tmp_path):
    soundfile.write(tmp_path / "two.flac", np.stack([sine(500), 0 * sine(500)], 1), SAMPLE_RATE)
    assert np.abs(load_audio(tmp_path / "two.flac", SAMPLE_RATE)).max() == pytest.approx(0.25, abs=1e-3)


@pytest.mark.parametrize("name", ["missing.wav", "text.wav", "zero.wav", "empty.wav", "folder"])
def test_what_is_no_sound_is_named_in_one_sentence(tmp_path, name):
    (tmp_path / "text.wav").write_text("this is not a sound")
    (tmp_path / "zero.wav").touch()
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), SAMPLE_RATE)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError) as caught:
        load_audio(tmp_path / name, SAMPLE_RATE)
    assert_one_sentence(str(caught.value), tmp_path / name)
    assert ": it)" not in str(caught.value)  # the file's name is cut out of the library's words, not replaced


@pytest.mark.skipif(not RECORDINGS, reason="../shared/real/esc50 is absent")
@pytest.mark.parametrize("path", RECORDINGS[:3], ids=lambda path: path.stem)
def test_real_recordings_are_loaded_and_embedded(stack, path):
    waveform = load_audio(path, SAMPLE_RATE)
    assert len(waveform) == 5 * SAMPLE_RATE and np.abs(waveform).max() > 0.01
    assert np.linalg.norm(stack.audio.embed_audio([waveform], SAMPLE_RATE)) == pytest.approx(1, abs=1e-4)


# -------------------------------------------------------------------------------------------------------------- CLAP


@pytest.mark.parametrize("length, repeats", [(1000, 40), (25_000, 1), (40_800, 1), (90_000, 1)])
def test_short_sounds_are_repeated_and_padded_and_long_ones_cropped(stack, length, repeats):
    wave = np.random.default_rng(0).standard_normal(length).astype(np.float32)
    fitted, wanted = stack.audio.fit_length(wave), stack.audio.model.clip_samples
    assert fitted.shape == (wanted,)
    kept = min(length * repeats, wanted)
    assert np.array_equal(fitted[:kept], np.tile(wave, repeats)[:kept])
    assert not fitted[kept:].any()


def test_sound_embeddings_have_unit_norm_and_do_not_depend_on_the_batch(stack, sounds):
    together = stack.audio.embed_audio(list(sounds), SAMPLE_RATE)
    assert together.shape == (8, stack.audio.embed_dim) and together.dtype == np.float32
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert np.allclose(stack.audio.embed_audio([sounds[5]], SAMPLE_RATE)[0], together[5], atol=1e-5)
    assert np.allclose(stack.audio.embed_audio(list(sounds), SAMPLE_RATE, batch_size=3), together, atol=1e-5)
    assert np.ptp(together, axis=0).max() > 1e-3  # not one answer for every sound


def test_text_embeddings_have_unit_norm_and_do_not_depend_on_the_batch(stack):
    texts = ["the sound of a dog barking", "the sound of three cows mooing far", ""]
    together = stack.audio.embed_texts(texts)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for text, row in zip(texts, together):
        assert np.allclose(stack.audio.embed_texts([text])[0], row, atol=1e-5)


def test_nothing_to_embed_gives_no_rows(stack):
    assert stack.audio.embed_audio([], SAMPLE_RATE).shape == (0, stack.audio.embed_dim)


@pytest.mark.parametrize("rate", [22_050, 48_000])
def test_other_sample_rates_give_nearly_the_same_embedding(stack, sounds, rate):
    import librosa

    resampled = [librosa.resample(sound, orig_sr=SAMPLE_RATE, target_sr=rate) for sound in sounds[:4]]
    cosines = (stack.audio.embed_audio(resampled, rate) * stack.audio.embed_audio(list(sounds[:4]), SAMPLE_RATE)).sum(1)
    assert (cosines > 0.98).all()


def test_tokenizer_without_its_vocabulary_is_refused(stack):
    with pytest.raises(ValueError, match="tokenizer knows 4 tokens"):
        AudioEncoder(stack.audio.model, ["<s>", "<pad>", "</s>", "<unk>"])


def test_the_package_loads_without_laion_claps_init_and_without_a_network(fresh):
    assert "v2a_utils.models.clap" in fresh["modules"] and "laion_clap" not in fresh["modules"]


# ----------------------------------------------------------------------------------------------------------- vocoder


def test_griffin_lim_gives_back_the_log_mel(sounds):
    mels = log_mel(torch.from_numpy(sounds))
    waves = GriffinLimVocoder()(mels)
    assert waves.shape == (8, NUM_SAMPLES)
    assert (log_mel(waves) - mels).abs().mean() <= 0.1


def test_griffin_lim_turns_spectra_into_waves_as_torch_does(sounds):
    vocoder, window = GriffinLimVocoder(iterations=3), torch.hann_window(1024)
    setting = {"n_fft": 1024, "hop_length": 160, "window": window}
    magnitude = torch.stft(torch.from_numpy(sounds[0]), return_complex=True, **setting).abs()
    spectrum, before = magnitude.to(torch.complex64), 0
    for _ in range(3):
        rebuilt = torch.stft(torch.istft(spectrum, length=NUM_SAMPLES, **setting), return_complex=True, **setting)
        spectrum, before = magnitude * torch.sgn(rebuilt - 0.99 / 1.99 * before), rebuilt
    expected = torch.istft(spectrum, length=NUM_SAMPLES, **setting)
    found = vocoder._with_phases(magnitude.T.contiguous(), mel=None)
    assert (found - expected).norm() < 1e-3 * expected.norm()


def test_griffin_lim_is_a_function_of_the_mel_alone(sounds):
    mels = log_mel(torch.from_numpy(sounds[:2]))
    torch.manual_seed(1)
    first = GriffinLimVocoder()(mels)
    torch.manual_seed(2)
    assert torch.equal(GriffinLimVocoder()(mels), first)
    assert torch.allclose(GriffinLimVocoder()(mels[1:]), first[1:], atol=1e-4)


def test_griffin_lim_keeps_the_pitch_of_a_sine():
    wave = GriffinLimVocoder()(log_mel(torch.from_numpy(sine(1000))[None]))[0].numpy()
    assert main_frequency(wave, SAMPLE_RATE) == pytest.approx(1000, rel=0.04)


def guessing_wildly(**settings) -> LearnedVocoder:
    """A vocoder whose network knows nothing: no phases fit what it guesses."""
    torch.manual_seed(0)
    vocoder = LearnedVocoder(width=8, depth=1, **settings)
    torch.nn.init.normal_(vocoder.leave[1].bias)
    return vocoder


@torch.inference_mode()
def test_magnitudes_have_the_mel_that_was_given_whatever_the_network_guesses(sounds):
    mels, vocoder = log_mel(torch.from_numpy(sounds[:2])), guessing_wildly()
    found = (vocoder.magnitudes(mels) @ vocoder.filters.T).clamp(min=MEL_FLOOR).log()
    assert (found - mels).abs().mean() < 0.05


@torch.inference_mode()
def test_scaling_again_gives_the_wave_the_energy_that_rough_magnitudes_lose(sounds):
    mels = log_mel(torch.from_numpy(sounds[:2]))
    again, once = ((log_mel(guessing_wildly(rescale_every=every)(mels)) - mels).abs().mean() for every in (8, 0))
    assert again < 0.9 * once


@pytest.mark.quality
@torch.inference_mode()
def test_the_shipped_vocoder_finds_the_magnitudes_better_than_griffin_lim_alone(stack, sounds):
    def spectra(waves):
        return (magnitudes(waves, 1024, 160) + FAINT).log()

    sounds = torch.from_numpy(sounds)
    errors = [(spectra(vocoder(log_mel(sounds))) - spectra(sounds)).abs().mean()
              for vocoder in (stack.generator.vocoder, GriffinLimVocoder())]
    assert errors[0] < 0.9 * errors[1]
