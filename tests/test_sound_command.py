"""The sound command: what it writes and says, its bad inputs, and (marked `quality`) how good the mini stack is."""

import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from conftest import (
    PHOTOS,
    VIDEOS,
    assert_one_sentence,
    needs_photos,
    offline_environment,
    plain_scene,
    single_scenes,
    write_video,
)
from soundworld import CLASSES, SAMPLE_RATE, draw, make_scene, synthesise
from soundworld.captions import class_prompt

from v2a_utils.__main__ import main
from v2a_utils.data.audio import load_audio
from v2a_utils.data.media import load_frames, put_sound
from v2a_utils.mappers.photographs import Look
from v2a_utils.models.mel import log_mel
from v2a_utils.pipeline import (
    SoundOptions,
    best_candidates,
    cross_fade,
    map_embeddings,
    picture_to_sound,
    video_to_sound,
)
from v2a_utils.stacks import stack as stacks

QUICK = ["--steps", "1", "--candidates", "1", "--seconds", "1"]


@pytest.fixture
def sound(stack, monkeypatch, tmp_path):
    """Runs `sound` in this process on the stack that is already loaded: inputs and options -> (exit status, out)."""
    load = stacks.load_stack
    monkeypatch.setattr(stacks, "load_stack", lambda name=None, device=None: load(name) if name == "paper" else stack)

    def run(*arguments, out=None):
        out = out or tmp_path / "out"
        return main(["sound", *QUICK, "--out", str(out), *map(str, arguments)]), out

    return run


@pytest.fixture
def dog(tmp_path) -> Path:
    path = tmp_path / "dog.png"
    draw(plain_scene("dog")).save(path)
    return path


def errors(capsys) -> list[str]:
    """Lines about errors on stderr (progress bars are not)."""
    return [line for line in capsys.readouterr().err.splitlines() if "error" in line.lower()]


def assert_proper_wav(path: Path, samples: int = 16_000) -> None:
    info = soundfile.info(path)
    assert (info.format, info.subtype, info.channels) == ("WAV", "PCM_16", 1)
    assert (info.samplerate, info.frames) == (SAMPLE_RATE, samples)
    waveform = soundfile.read(path)[0]
    assert 0 < np.abs(waveform).max() < 1


# ---------------------------------------------------------------------------------------------------- what it writes


def test_command_line_writes_one_wav_per_picture_without_a_network(dog, tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "v2a_utils", "sound", str(dog), "--out", str(tmp_path / "out"), *QUICK],
        cwd=tmp_path, env=offline_environment(), capture_output=True, text=True, timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr and str(dog) in run.stdout and "dog.wav" in run.stdout
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dog.wav"]
    assert_proper_wav(tmp_path / "out" / "dog.wav")


def test_length_defaults_to_that_of_the_stack(dog, stack, tmp_path, monkeypatch):
    monkeypatch.setattr(stacks, "load_stack", lambda name=None, device=None: stack)
    assert main(["sound", str(dog), "--out", str(tmp_path / "out"), "--steps", "1", "--candidates", "2"]) == 0
    assert_proper_wav(tmp_path / "out" / "dog.wav", 40_960)


def test_same_seed_gives_the_same_bytes(sound, dog, tmp_path):
    written = {}
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        status, out = sound(dog, "--seed", seed, out=tmp_path / name)
        assert status == 0
        written[name] = (out / "dog.wav").read_bytes()
    assert written["a"] == written["b"] != written["c"]


def test_a_sound_does_not_depend_on_the_other_inputs(sound, dog, tmp_path):
    draw(plain_scene("cow")).save(tmp_path / "cow.png")
    alone, together = sound(dog, out=tmp_path / "a")[1], sound(tmp_path / "cow.png", dog, out=tmp_path / "b")[1]
    assert (alone / "dog.wav").read_bytes() == (together / "dog.wav").read_bytes()


def test_broken_inputs_are_named_and_the_others_done(sound, dog, tmp_path, capsys):
    broken, last = tmp_path / "broken.jpg", tmp_path / "last.png"
    broken.write_bytes(b"no picture")
    draw(plain_scene("cow")).save(last)
    status, out = sound(dog, broken, last)
    assert status == 2
    assert sorted(path.name for path in out.iterdir()) == ["dog.wav", "last.wav"]
    line, = errors(capsys)
    assert_one_sentence(line, broken)


def test_a_folder_stands_for_its_pictures(sound, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("cow", "dog"):
        draw(plain_scene(name)).save(folder / f"{name}.png")
    (folder / "labels.csv").write_text("id,class\n")
    status, out = sound(folder)
    assert status == 0 and sorted(path.name for path in out.iterdir()) == ["cow.wav", "dog.wav"]


def test_an_empty_folder_is_named(sound, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert sound(tmp_path / "empty")[0] == 2
    line, = errors(capsys)
    assert_one_sentence(line, tmp_path / "empty")


def test_two_inputs_of_one_name_give_two_files(sound, tmp_path):
    for folder, name in (("a", "dog"), ("b", "cow")):
        (tmp_path / folder).mkdir()
        draw(plain_scene(name)).save(tmp_path / folder / "it.png")
    status, out = sound(tmp_path / "a" / "it.png", tmp_path / "b" / "it.png")
    assert status == 0 and len(list(out.iterdir())) == 2
    assert len({path.read_bytes() for path in out.iterdir()}) == 2


def test_a_video_gives_one_sound(sound, tmp_path):
    write_video(tmp_path / "film.mp4", [10 * i for i in range(24)], sound=True)
    status, out = sound(tmp_path / "film.mp4", "--vision", "clip")
    assert status == 0
    assert_proper_wav(out / "film.wav")


@pytest.mark.skipif(not VIDEOS, reason="../shared/real/vggsound is absent")
def test_the_real_video_gives_one_sound(sound):
    status, out = sound(*VIDEOS)
    assert status == 0
    for path in VIDEOS:
        assert_proper_wav(out / f"{path.stem}.wav")


# ------------------------------------------------------------------------------------------------- sound for videos


def packets(path: Path, kind: str) -> list[bytes]:
    """The stored bytes of a file's pictures or sounds."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(getattr(container.streams, kind)[0]) if packet.size]


def length_of(path: Path, kind: str) -> float:
    """Seconds of a file's first video or audio stream."""
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        return float(stream.duration * stream.time_base)


@pytest.mark.parametrize("own_sound", [False, True])
def test_a_video_gets_a_sound_as_long_as_itself_and_keeps_its_pictures(sound, tmp_path, own_sound):
    film = write_video(tmp_path / "film.mp4", [8 * i for i in range(31)], sound=own_sound)  # four windows of 1 s
    status, out = sound(film, "--video", "--vision", "clip")
    assert status == 0 and [path.name for path in out.iterdir()] == ["film.mp4"]
    assert packets(out / "film.mp4", "video") == packets(film, "video")
    assert length_of(out / "film.mp4", "video") == pytest.approx(3.1, abs=0.01)
    assert length_of(out / "film.mp4", "audio") == pytest.approx(3.1, abs=0.1)
    heard = load_audio(out / "film.mp4", SAMPLE_RATE)
    assert np.abs(heard).max() > 0.05
    if own_sound:  # a pure tone: not what is heard now
        assert packets(out / "film.mp4", "audio") != packets(film, "audio")


def test_every_window_of_a_video_is_conditioned_on_its_own_pictures(stack, tmp_path, monkeypatch, capsys):
    film = write_video(tmp_path / "film.mp4", [20] * 20 + [220] * 20)  # 4 s: dark, then light
    seen, levels = stack.vision.embed_frames, []
    monkeypatch.setattr(stack.vision, "embed_frames", lambda frames: levels.append(
        [np.asarray(frame).mean() for frame in frames]) or seen(frames))
    made = video_to_sound(stack, film, SoundOptions(steps=2, candidates=1, seconds=1.0, vision="clip"))
    assert len(levels) == 5  # beginning at 0, 0.75, 1.5, 2.25 and 3 s
    assert max(levels[0]) < 60 and min(levels[-1]) > 180 and min(levels[2]) < 60 < 180 < max(levels[2])
    assert made.waveform.shape == (64_000,) and "/5 [" in capsys.readouterr().err


def test_a_film_sounds_the_same_when_its_windows_are_made_side_by_side(stack, tmp_path):
    film = write_video(tmp_path / "film.mp4", [20] * 10 + [220] * 10)  # 2 s
    options = SoundOptions(steps=2, candidates=2, seconds=1.0, vision="clip")
    threads, sounds = torch.get_num_threads(), []
    try:
        for number in (1, 4):
            torch.set_num_threads(number)
            sounds.append(video_to_sound(stack, film, options))
    finally:
        torch.set_num_threads(threads)
    assert abs(sounds[0].similarity - sounds[1].similarity) < 1e-2
    one, other = (log_mel(torch.from_numpy(sound.waveform)[None]) for sound in sounds)  # phases tell rounding apart
    assert (one - other).abs().mean() < 0.05 < (one - one.roll(20, 1)).abs().mean()


def test_a_video_names_what_was_likeliest_in_any_window(stack, tmp_path, monkeypatch):
    film = write_video(tmp_path / "film.mp4", [20] * 17)  # two windows
    names = iter([[("dog", 0.9), ("fox", 0.1)], [("cat", 0.8), ("dog", 0.2)]])
    monkeypatch.setattr("v2a_utils.pipeline.map_picture",
                        lambda stack, visual, frames, options: (visual, Look(True, next(names), ("dog", 0.9))))
    made = video_to_sound(stack, film, SoundOptions(steps=1, candidates=1, seconds=1.0, mapper="none"))
    assert made.look.seen == [("dog", 0.9), ("cat", 0.8), ("fox", 0.1)]


def test_a_video_shorter_than_a_clip_gets_its_beginning(stack, tmp_path):
    film = write_video(tmp_path / "film.mp4", [100] * 7)
    assert video_to_sound(stack, film, SoundOptions(steps=1, candidates=1, vision="clip")).waveform.shape == (11_200,)


def test_windows_fade_into_each_other_at_equal_power():
    noise = np.random.default_rng(0).standard_normal((3, 40_000)).astype(np.float32)
    whole = cross_fade(noise, 30_000)
    assert whole.shape == (100_000,)
    assert np.array_equal(whole[:30_000], noise[0, :30_000])
    assert np.array_equal(whole[40_000:60_000], noise[1, 10_000:30_000])
    assert np.allclose((whole.reshape(-1, 5000) ** 2).mean(1), 1, atol=0.1)
    assert np.array_equal(cross_fade(noise[:1], 30_000), noise[0])


def test_a_picture_and_a_broken_video_are_named_where_videos_are_wanted(sound, dog, tmp_path, capsys):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    film = write_video(tmp_path / "film.mp4", [100] * 5)
    status, out = sound(dog, broken, film, "--video", "--vision", "clip")
    assert status == 2 and [path.name for path in out.iterdir()] == ["film.mp4"]
    for line, path in zip(errors(capsys), (dog, broken)):
        assert_one_sentence(line, path)


def test_pictures_that_mp4_cannot_hold_are_named_and_nothing_half_done_stays(tmp_path):
    film = write_video(tmp_path / "film.avi", [100] * 5, codec="ffv1")
    with pytest.raises(ValueError) as caught:
        put_sound(film, tmp_path / "out.3gp", np.zeros(8000, np.float32), SAMPLE_RATE)
    assert_one_sentence(str(caught.value), film)
    assert [path.name for path in tmp_path.iterdir()] == ["film.avi"]


@pytest.mark.skipif(not VIDEOS, reason="../shared/real/vggsound is absent")
def test_the_real_video_gets_its_sound(sound):
    status, out = sound(VIDEOS[0], "--video", "--mapper", "regression", "--seconds", "4")
    assert status == 0 and packets(out / VIDEOS[0].name, "video") == packets(VIDEOS[0], "video")
    assert length_of(out / VIDEOS[0].name, "audio") == pytest.approx(length_of(VIDEOS[0], "video"), abs=0.1)


# -------------------------------------------------------------------------------------------------- what is chosen


@pytest.mark.parametrize("mapper", ["diffusion", "regression", "words", "none"])
def test_every_mapper_makes_a_sound_of_its_own(sound, stack, dog, mapper):
    status, out = sound(dog, "--mapper", mapper)
    assert status == 0
    assert_proper_wav(out / "dog.wav")
    visual = stack.vision.embed_frames(load_frames(dog))[None]
    mapped = map_embeddings(stack, visual, mapper)
    assert np.array_equal(mapped, visual) == (mapper == "none")


@pytest.mark.parametrize("limit, strange", [(-1.0, True), (1e9, False)])
def test_unfamiliar_pictures_are_called_so(sound, stack, dog, capsys, monkeypatch, limit, strange):
    monkeypatch.setattr(stack.familiarity, "limit", limit)
    assert sound(dog, "--vision", "clip")[0] == 0
    assert ("unlike the pictures" in capsys.readouterr().out) == strange


def test_the_best_candidate_is_kept(stack):
    mapped = stack.audio.embed_texts(["the sound of a dog barking", "the sound of rain falling"])
    options = SoundOptions(steps=1, candidates=3, seconds=1.0)
    waves, cosines = best_candidates(stack, mapped, options)
    everything = stack.generator.generate(np.repeat(mapped, 3, 0), 1, options.guidance, 1.0)
    heard = (stack.audio.embed_audio(list(everything), SAMPLE_RATE) * np.repeat(mapped, 3, 0)).sum(1).reshape(2, 3)
    assert np.allclose(cosines, heard.max(1), atol=1e-4)
    assert np.allclose(waves, everything.reshape(2, 3, -1)[[0, 1], heard.argmax(1)], atol=1e-3)


# ------------------------------------------------------------------------------------------------------ what it says


@pytest.mark.parametrize("option, value", [("steps", "0"), ("steps", "5000"), ("seconds", "0"), ("seconds", "-3"),
                                           ("seconds", "nan"), ("guidance", "-1"), ("candidates", "0"),
                                           ("seed", "-1")])
def test_bad_numbers_are_refused_in_one_sentence(dog, tmp_path, capsys, option, value):
    assert main(["sound", str(dog), "--out", str(tmp_path / "out"), f"--{option}={value}"]) == 2
    line, = errors(capsys)
    assert option in line and "give" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [["--exclude", " "], ["--exclude", "speech", "--guidance", "1"]])
def test_words_to_exclude_need_a_guidance_to_lead_away_from_them(dog, tmp_path, capsys, arguments):
    assert main(["sound", str(dog), "--out", str(tmp_path / "out"), *arguments]) == 2
    line, = errors(capsys)
    assert "exclude" in line and "guidance above 1" in line and not (tmp_path / "out").exists()


def test_what_is_excluded_is_asked_of_clap_and_changes_the_sound(stack):
    mapped = stack.audio.embed_texts(["the sound of a dog barking"])
    made = [best_candidates(stack, mapped, SoundOptions(steps=2, candidates=1, seconds=1.0, exclude=words))[0]
            for words in (None, "the sound of rain falling")]
    words = stack.embed_words(["the sound of rain falling"])[0]
    assert np.allclose(made[1], stack.generator.generate(mapped, 2, 2.0, 1.0, exclude=words), atol=1e-3)
    assert not np.allclose(*made, atol=1e-2)


def test_a_mapper_that_is_neither_a_kind_nor_a_folder_is_refused_with_what_there_is(dog, capsys):
    assert main(["sound", str(dog), "--mapper", "magic"]) == 2
    line, = errors(capsys)
    assert "magic" in line and "diffusion, regression, flow, words" in line


@pytest.mark.parametrize("arguments", [["--stack", "huge"], ["--steps", "many"]])
def test_bad_words_are_refused_with_what_is_allowed(dog, capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(["sound", str(dog), *arguments])
    assert caught.value.code == 2
    complaint = capsys.readouterr().err.splitlines()[-1]
    assert arguments[0] in complaint and arguments[1] in complaint


def test_unknown_stack_of_the_environment_is_named(dog, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("V2A_STACK", "huge")
    assert main(["sound", str(dog), "--out", str(tmp_path / "out")]) == 2
    line, = errors(capsys)
    assert "huge" in line and "mini" in line


def test_paper_stack_without_weights_says_what_to_do(sound, dog, tmp_path, capsys, monkeypatch):
    for name in ("V2A_CLIP", "V2A_CLAP", "V2A_AUDIOLDM", "V2A_EXTRAS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("V2A_CACHE", str(tmp_path / "cache"))
    assert sound(dog, "--stack", "paper")[0] == 2
    line, = errors(capsys)
    assert "V2A_CLIP" in line and "fetch --for sound" in line


def test_out_that_is_a_file_is_named(sound, dog, tmp_path, capsys):
    (tmp_path / "taken").write_text("a file")
    assert sound(dog, out=tmp_path / "taken")[0] == 2
    line, = errors(capsys)
    assert_one_sentence(line, tmp_path / "taken")


# ----------------------------------------------------------------------------------------------------------- quality


def right_rate(stack, mapper: str, scenes) -> float:
    """Share of scenes whose generated sound the tagger gives the scene's class, one candidate each."""
    options, right = SoundOptions(mapper=mapper, candidates=1, steps=5), 0
    for start in range(0, len(scenes), 10):
        batch = scenes[start : start + 10]
        mapped = map_embeddings(stack, stack.vision.embed_images([draw(scene) for scene in batch]), mapper)
        waves, _ = best_candidates(stack, mapped, options)
        named = stack.tagger.logits(list(waves), SAMPLE_RATE).argmax(1)
        right += sum(stack.tagger.names[k] == scene.label for k, scene in zip(named, batch))
    return right / len(scenes)


@pytest.mark.quality
@pytest.mark.parametrize("mapper", ["diffusion", "regression"])
def test_generated_sounds_are_of_the_right_class(stack, mapper):
    assert right_rate(stack, mapper, single_scenes(40)) >= 0.8  # a guard below what REPORT.md measures


@pytest.mark.quality
def test_tagger_knows_real_sounds(stack):
    scenes = single_scenes(200)
    named = stack.tagger.logits([synthesise(scene) for scene in scenes], SAMPLE_RATE).argmax(1)
    assert np.mean([stack.tagger.names[k] == scene.label for k, scene in zip(named, scenes)]) >= 0.95


@pytest.mark.quality
@pytest.mark.parametrize(("kind", "least"), [("picture", 0.93), ("sound", 0.93)])
def test_both_encoders_classify_without_training(stack, kind, least):
    scenes, prompts = single_scenes(200), [class_prompt(name, kind) for name in CLASSES]
    if kind == "picture":
        scores = stack.vision.embed_images([draw(scene) for scene in scenes]) @ stack.vision.embed_texts(prompts).T
    else:
        heard = stack.audio.embed_audio([synthesise(scene) for scene in scenes], SAMPLE_RATE)
        scores = heard @ stack.audio.embed_texts(prompts).T
    assert np.mean([CLASSES[k] == scene.label for k, scene in zip(scores.argmax(1), scenes)]) >= least


@pytest.mark.quality
def test_test_pictures_are_seldom_called_out_of_distribution(stack):
    pictures = [draw(make_scene("test", index)) for index in range(100)]
    flagged = [stack.familiarity.is_out_of_distribution(row) for row in stack.vision.embed_images(pictures)]
    assert np.mean(flagged) <= 0.05


@pytest.mark.quality
@needs_photos
def test_real_photographs_are_called_out_of_distribution(stack):
    flagged = [stack.familiarity.is_out_of_distribution(stack.vision.embed_frames(load_frames(path))) for path in PHOTOS]
    assert np.mean(flagged) >= 0.9


@pytest.mark.quality
@needs_photos
def test_the_command_warns_about_a_real_photograph(sound, capsys):
    photo = PHOTOS[0]
    assert sound(photo, "--vision", "clip")[0] == 0  # the way of photographs is test_photo's
    assert re.search(f"{photo.name}: .*do not trust its sound", capsys.readouterr().out)


@pytest.mark.quality
def test_similarity_tells_the_right_sound_from_a_wrong_one(stack):
    """What the command ranks its candidates by is worth ranking by."""
    scenes = single_scenes(12)
    sounds = [picture_to_sound(stack, [draw(scene)], SoundOptions(mapper="regression", candidates=1, steps=10))
              for scene in scenes]
    mapped = np.stack([made.mapped for made in sounds])
    heard = stack.audio.embed_audio([made.waveform for made in sounds], SAMPLE_RATE)
    own = (mapped * heard).sum(1)
    assert own.mean() > (mapped @ heard.T).mean() + 0.2
