"""The authors' own sounds: what is shipped of them, and a row of Table 1 recomputed from all of them."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile
from benchmarks import cost
from conftest import REAL, ROOT, assert_one_sentence
from paper_weights import places
from PIL import Image

from v2a_utils.__main__ import main
from v2a_utils.data.audio import loudness, read_audio
from v2a_utils.data.files import sha256, write_json
from v2a_utils.evaluation.scoring import BY_HAND, nearest, read_ids, recompute
from v2a_utils.evaluation.settings import Published
from v2a_utils.models.networks import AudioCnn
from v2a_utils.models.weights import save_weights
from v2a_utils.stacks.stack import load_stack

SHIPPED = ROOT / "data" / "published"
LENGTHS = {"v2a_mapper": 163_872, "im2wav": 163_840, "clipsonic": 159_744}  # samples, as the three systems publish them
MANY = {8: "guitar", 4: "bongo car drums duck horse motorcycle people rain saxophone", 2: "frog harmonica police",
        3: "accordion bass bells bird cat chicken cow cricket dog flute gun lion piano sheep train trumpet waterfall"}
IDS = [f"{name}{number}" for count, names in MANY.items() for name in names.split() for number in range(1, count + 1)]


def write_sound(path, samples: int, seed: int = 0, level: float = 0.1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, level * np.random.default_rng(seed).standard_normal(samples), 16_000)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The authors' list, 101 pictures, and one sound for each, of the three lengths in turn; a cache of its own."""
    monkeypatch.setenv("V2A_CACHE", str(tmp_path / "cache"))
    (tmp_path / "ids.txt").write_text("\n".join(IDS))
    (tmp_path / "pictures").mkdir()
    for number, name in enumerate(IDS):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "pictures" / f"{name}.jpg")
        write_sound(tmp_path / "sounds" / "as downloaded" / f"{name}.wav", list(LENGTHS.values())[number % 3], number)
    return tmp_path


def settings(folder, **more) -> Published:
    return Published(str(folder / "sounds"), str(folder / "ids.txt"), str(folder / "pictures"),
                     out=str(folder / "out"), **more)


@pytest.fixture(scope="module")
def paper(paper_folder):
    """The paper stack with random weights, FAD's backbone included."""
    config = {"sample_rate": 16_000, "n_fft": 512, "hop": 160, "mels": 64, "widths": [8, 8], "features": 16,
              "outputs": 1, "names": []}
    save_weights(AudioCnn(config), paper_folder / "extras" / "vggish" / "model.safetensors")
    write_json(paper_folder / "extras" / "vggish" / "config.json", config)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in places(paper_folder).items():
            patch.setenv(name, value)
        yield load_stack("paper", "cpu")


# -------------------------------------------------------------------------------------------------------- what is shipped


def test_what_is_shipped_is_small_listed_and_carries_its_licence():
    listed = pd.read_csv(SHIPPED / "sounds.csv")
    files = {path.relative_to(SHIPPED).as_posix(): path for path in SHIPPED.rglob("*.mp3")}
    assert set(listed.file) == set(files) and sum(path.stat().st_size for path in files.values()) < 2_500_000
    assert "Attribution-ShareAlike 4.0 International" in (SHIPPED / "LICENSE").read_text()
    text = (SHIPPED / "README.md").read_text()
    assert "CC BY-SA 4.0" in text and "Heng Wang" in text and "Changed" in text
    assert {path.suffix for path in SHIPPED.rglob("*") if path.is_file()} == {".mp3", ".csv", ".md", ""}
    for row in listed.itertuples():
        assert row.picture in IDS and len(read_audio(files[row.file])[0]) == LENGTHS["v2a_mapper"]


@pytest.mark.skipif(not (REAL / "published").is_dir(), reason="../shared/real/published is absent")
def test_the_shipped_sounds_are_the_published_ones_at_their_level():
    wavs = {sha256(path): path for path in (REAL / "published").rglob("*.wav")}
    for row in pd.read_csv(SHIPPED / "sounds.csv").itertuples():
        original, coded = (read_audio(path)[0] for path in (wavs[row.source_sha256], SHIPPED / row.file))
        assert loudness(coded) == pytest.approx(loudness(original), abs=0.2)
        assert np.corrcoef(original, coded)[0, 1] > 0.9, row.file  # noise is what MP3 keeps worst


def test_the_cost_of_the_real_reproduction_rests_on_a_measured_rate_for_each_stage():
    rates = pd.read_csv(ROOT / "data" / "results" / "rates.csv").set_index("stage")
    assert set(rates.index) == {"decode", "CLIP", "CLAP", "training", "mapping", "1 denoising step",
                                "3 denoising steps", "scoring", "film"}
    assert (rates.seconds.drop("film") > 0).all() and rates.seconds["3 denoising steps"] > rates.seconds["1 denoising step"]
    calls = []
    assert cost.seconds_of(lambda: calls.append(sum(range(100_000))), 3) > 0 and len(calls) == 4


# ----------------------------------------------------------------------------------------------------- a row recomputed


def test_cs_is_the_one_that_a_hand_computes(tmp_path):
    """Pictures look along x; sounds lie 60 and 90 degrees off, so CS is 50 and 0, their mean 25."""
    (tmp_path / "ids.txt").write_text("a1\nb1")
    (tmp_path / "pictures").mkdir()
    for name, samples, level in (("a1", LENGTHS["v2a_mapper"], 0.5), ("b1", LENGTHS["clipsonic"], 0.02)):
        Image.new("RGB", (8, 8)).save(tmp_path / "pictures" / f"{name}.jpg")
        soundfile.write(tmp_path / f"{name}.wav", np.full(samples, level), 16_000)
    heard = []

    def embed(waves, rate):
        heard.append((len(waves[0]), round(float(np.abs(waves[0]).max()), 2), rate))
        return np.array([[0.5, 0.75**0.5]] if len(heard) % 2 else [[0.0, 1.0]])

    stack = SimpleNamespace(vision=SimpleNamespace(embed_frames=lambda frames: np.array([3.0, 0.0])),
                            wav2clip=SimpleNamespace(embed=embed, sample_rate=16_000))
    table = recompute(Published(str(tmp_path), str(tmp_path / "ids.txt"), str(tmp_path / "pictures"),
                                out=str(tmp_path / "out")), stack)
    assert table.value.to_numpy() == pytest.approx(25) and (table.n == 2).all() and (table.paper == 11.950).all()
    whole, short = LENGTHS["v2a_mapper"], LENGTHS["clipsonic"]
    assert heard == [(whole, 0.5, 16_000), (short, 0.02, 16_000), (whole, 1, 16_000), (short, 1, 16_000),
                     (short, 0.5, 16_000), (short, 0.02, 16_000), (short, 1, 16_000), (short, 1, 16_000)]
    assert "its interval holds that" in nearest(table)
    assert pd.read_csv(tmp_path / "out" / "published.csv").value.tolist() == pytest.approx([25] * 4)


def test_all_101_ids_are_scored_from_a_list_without_an_end(folder, paper, capsys):
    assert len(IDS) == 101 and read_ids(folder / "ids.txt")[-1] == IDS[-1] and "people4" in IDS
    config = folder / "config.toml"
    config.write_text(f'sounds = "{folder}/sounds"\nids = "{folder}/ids.txt"\npictures = "{folder}/pictures"\n'
                      f'out = "{folder}/out"\n')
    assert main(["reproduce", str(config)]) == 0
    said = capsys.readouterr().out
    table = pd.read_csv(folder / "out" / "published.csv")
    assert (table.n == 101).all() and table.seconds.tolist() == ["whole", "whole", "9.984", "9.984"]
    assert "11.950" in said and "nearest to the printed" in said and "at 16000 Hz" in said
    assert table.value.nunique() > 2  # random as the weights are, length and level are heard


def test_the_test_split_of_vggsound_adds_the_other_columns(folder, paper):
    for number in range(4):
        name = f"abcdefghijk_{number:06d}"
        write_sound(folder / "made" / f"{name}.wav", LENGTHS["v2a_mapper"], number)
        write_sound(folder / "true" / f"{name}.wav", LENGTHS["im2wav"], number + 9)
        Image.new("RGB", (8, 8), (0, number, 0)).save(folder / "pictures" / f"{name}.jpg")
    whole = settings(folder, vggsound=str(folder / "made"), reference=str(folder / "true"),
                     videos=str(folder / "pictures"))
    rows = recompute(whole, paper)
    rows = rows[rows.data == "VGGSound"].set_index("measure")
    assert dict(rows.paper) == {"FD": 24.168, "FAD": 0.841, "CS": 9.720} and (rows.n == 4).all()


@pytest.mark.skipif(not (REAL / "published").is_dir(), reason="../shared/real/published is absent")
@pytest.mark.parametrize("system, row", [("v2a_mapper", "V2A-Mapper"), ("im2wav", "Im2Wav"),
                                         ("clipsonic", "CLIPSonic-IQ")])
def test_the_published_triples_are_scored(system, row, tmp_path, paper):
    systems = REAL / "published" / "systems"
    (tmp_path / "ids.txt").write_text("\n".join(path.stem for path in sorted((systems / "pictures").glob("*.jpg"))))
    table = recompute(Published(str(systems / system), str(tmp_path / "ids.txt"), str(systems / "pictures"), system=row,
                                out=str(tmp_path)), paper)
    assert (table.n == 9).all() and table.paper.nunique() == 1 and np.isfinite(table.value).all()
    assert {round(len(read_audio(path)[0])) for path in (systems / system).glob("*.wav")} == {LENGTHS[system]}


@pytest.mark.parametrize("change, message", [
    (lambda folder: (folder / "sounds" / "as downloaded" / "people4.wav").unlink(), "no sound of people4 (1 of 101"),
    (lambda folder: (folder / "pictures" / "people4.jpg").unlink(), "fetch --for evaluation` gets it"),
    (lambda folder: write_sound(folder / "sounds" / "people4.wav", 1000), "are both the sound of people4"),
    (lambda folder: (folder / "ids.txt").write_text("people4\npeople4"), "holds an id twice"),
    (lambda folder: (folder / "ids.txt").unlink(), "no list of ids"),
])
def test_what_is_missing_is_named_with_its_remedy(change, message, folder, paper):
    change(folder)
    with pytest.raises(ValueError) as error:
        recompute(settings(folder), paper)
    assert message in str(error.value)
    assert_one_sentence(str(error.value), folder)


def test_where_the_sounds_are_to_be_had_is_said_with_the_address(folder, paper):
    with pytest.raises(ValueError, match="downloaded by hand") as error:
        recompute(Published(str(folder / "nowhere"), str(folder / "ids.txt"), str(folder / "pictures")), paper)
    assert BY_HAND in str(error.value) and "no such folder" in str(error.value)


@pytest.mark.parametrize("text, message", [
    ("sounds = '.'\nsystem = 'Magic'", "no system 'Magic'"), ("sounds = 'a'\nmagic = 1", "unknown magic"),
    ("sounds = 'a'\nvggsound = 'b'", "reference is not"), ("sounds = 'a'\nseconds = 0", "seconds is 0"), ("sounds = 'a'\nengine = 'ray'", "unknown engine"),
])
def test_a_configuration_that_does_not_fit_is_refused_in_a_sentence(text, message, tmp_path, capsys, paper):
    (tmp_path / "config.toml").write_text(text)
    assert main(["reproduce", str(tmp_path / "config.toml")]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
