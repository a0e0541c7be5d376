"""The store of embeddings and the extraction that fills it: same rows whatever happens on the way."""

import csv
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import soundfile
import torch
from conftest import PHOTOS, RECORDINGS, VIDEOS, halves, sine, write_video
from pyarrow import parquet
from soundworld import SAMPLE_RATE, draw, make_scene, synthesise
from v2a_pretraining.run import EMBEDDED

from v2a_utils.__main__ import main
from v2a_utils.data.audio import load_audio
from v2a_utils.data.batches import Lanes, parallel_map
from v2a_utils.data.media import load_frames, sample_frames
from v2a_utils.data.sources import FileSource, Listing, open_source, pairs, soundworld
from v2a_utils.data.store import Row, Store
from v2a_utils.models.clip import AGGREGATES, aggregate_frames, choose_frames
from v2a_utils.stacks import extraction as embeddings
from v2a_utils.stacks.extraction import (
    EmbedOptions,
    batch_jobs,
    embed,
    embed_world,
    encode,
    from_sources,
    preparation,
    run_here,
    store_settings,
    world_store,
)
from v2a_utils.stacks.stack import load_stack

PAIRS = 11  # one of which is broken
SECONDS = 2.56  # that the mini CLAP listens to


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder of pairs, the one of number 5 with a broken picture."""
    folder = tmp_path_factory.mktemp("pairs")
    for number in range(PAIRS):
        halves((20 * number, 0, 0), (0, 0, 255 - 20 * number)).save(folder / f"{number:02}.png")
        soundfile.write(folder / f"{number:02}.wav", sine(200 + 100 * number), SAMPLE_RATE)
    (folder / "05.png").write_bytes(b"no picture")
    (folder / "alone.wav").touch()
    return folder


@pytest.fixture(autouse=True)
def no_workers(monkeypatch):
    """Scenes are drawn in this process, which spares the workers' start."""
    monkeypatch.setattr(embeddings, "DECODERS", 0)


@pytest.fixture()
def small(monkeypatch):
    """Shards of 4 clips in batches of 2."""
    monkeypatch.setattr(embeddings, "SHARD_CLIPS", 4)
    monkeypatch.setattr(embeddings, "BATCH", 2)


@pytest.fixture(scope="module")
def whole(folder, stack, tmp_path_factory) -> Store:
    """The store of an uninterrupted run over the folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embeddings, "SHARD_CLIPS", 4)
        patch.setattr(embeddings, "BATCH", 2)
        return embed(open_source(str(folder)), stack, tmp_path_factory.mktemp("whole") / "store")


def assert_same(store: Store, other: Store) -> None:
    """The same rows in the same order, and the same skipped.csv."""
    assert store.table(["id", "label", "split", "caption"]) == other.table(["id", "label", "split", "caption"])
    for column in ("visual", "audio"):
        assert np.allclose(store.numpy(column), other.numpy(column), atol=1e-5)
    assert skipped_csv(store) == skipped_csv(other)


def skipped_csv(store: Store) -> list[dict]:
    with open(Path(store.path) / "skipped.csv", newline="") as file:
        return list(csv.DictReader(file))


# -------------------------------------------------------------------------------------------------------- aggregates


def test_aggregates_choose_their_frames():
    assert [choose_frames(kind, 5) for kind in ("mean", "none", "first", "middle")] == [
        [0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [0], [2]]
    drawn = [choose_frames("random", 5, seed)[0] for seed in range(40)]
    assert set(drawn) == set(range(5)) and drawn == [choose_frames("random", 5, seed)[0] for seed in range(40)]
    with pytest.raises(ValueError, match="unknown aggregate"):
        choose_frames("median", 5)


def test_aggregated_embedding_has_unit_norm_and_none_keeps_every_frame():
    rows = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    mean = rows.mean(0)
    assert np.allclose(aggregate_frames(rows), mean / np.linalg.norm(mean))
    assert np.allclose(aggregate_frames(rows, "middle"), rows[2])
    assert np.array_equal(aggregate_frames(rows, "none"), rows)


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_a_video_is_embedded_by_each_aggregate(tmp_path, stack, aggregate):
    path = write_video(tmp_path / "film.mp4", [5 * i for i in range(40)], sound=True)  # 4 s
    listing = Listing("film", [FileSource("film", None, None, str(path), str(path))], [])
    store = embed(listing, stack, tmp_path / "store", EmbedOptions(aggregate, frame_rate=2.0))
    visual = store.numpy("visual")[0]
    assert visual.shape == ((6, stack.vision.embed_dim) if aggregate == "none" else (stack.vision.embed_dim,))
    assert np.allclose(np.linalg.norm(visual, axis=-1), 1, atol=1e-4)
    assert store.settings["aggregate"].startswith(aggregate)


# ------------------------------------------------------------------------------------------------------------- store


def test_rows_are_those_of_the_encoders(folder, stack, whole):
    listing = open_source(str(folder))
    names = [f"{number:02}" for number in range(PAIRS) if number != 5]
    assert list(whole.numpy("id")) == names == [source.id for source in listing.sources if source.id != "05"]
    clips = [source.decode(1.0, range, 3.0) for source in listing.sources if source.id in names]
    pictures = stack.vision.embed_images([clip.frames[0] for clip in clips])
    sounds = stack.audio.embed_audio([clip.waveform for clip in clips], SAMPLE_RATE)
    assert np.allclose(whole.numpy("visual"), pictures, atol=1e-5)
    assert np.allclose(whole.numpy("audio"), sounds, atol=1e-5)


def test_store_opens_in_numpy_torch_pandas_and_any_parquet_reader(stack, whole):
    assert whole.numpy("visual").dtype == np.float32 and whole.torch("audio").dtype == torch.float32
    assert torch.equal(whole.torch("audio"), torch.tensor(whole.numpy("audio")))
    frame = whole.pandas()
    assert len(frame) == len(whole) == PAIRS - 1 and np.array_equal(np.stack(frame["audio"]), whole.numpy("audio"))
    shards = sorted(Path(whole.path).glob("*.parquet"))
    table = pa.concat_tables([parquet.read_table(path) for path in shards])
    vectors = pa.list_(pa.float32(), stack.vision.embed_dim)
    assert len(table) == len(whole) and table.schema.field("visual").type == vectors
    assert table.schema.names == ["id", "label", "split", "caption", "visual", "audio"]
    assert pd.read_parquet(whole.path, ignore_prefixes=["skipped"]).drop(columns=["visual", "audio"]).equals(
        frame.drop(columns=["visual", "audio"]))  # skipped.csv lies beside the shards
    with pytest.raises(ValueError, match="no column smell"):
        whole.numpy("smell")


def test_store_says_how_it_was_made(whole):
    settings = whole.settings
    assert settings["stack"] == "mini" and settings["aggregate"] == "mean" and settings["v2a_utils"]
    assert len(settings["clip_sha256"]) == len(settings["clap_sha256"]) == 64
    assert "16000 Hz" in settings["clap_preprocessing"] and '"size"' in settings["clip_preprocessing"]


def test_what_could_not_be_embedded_is_listed_with_the_reason(whole):
    reasons = {row["id"]: row["reason"] for row in skipped_csv(whole)}
    assert reasons.keys() == {"alone", "05"}
    assert "05.png: not a picture" in reasons["05"] and reasons["alone"].startswith("a sound without")


def test_split_of_a_store_is_read_alone(tmp_path, stack):
    sources = [source for split in ("train", "test") for source in soundworld(split, 2).sources]
    store = embed(Listing("both", sources, []), stack, tmp_path / "store")
    assert list(store.numpy("id", split="test")) == [source.id for source in sources[2:]]
    assert store.numpy("visual", split="test").shape == (2, stack.vision.embed_dim)
    assert store.numpy("visual", split="val").shape == (0, stack.vision.embed_dim)


def test_data_set_of_pictures_has_no_column_of_sounds(tmp_path, stack):
    halves((0, 0, 0), (255, 0, 0)).save(tmp_path / "dog1.jpg")
    store = embed(open_source(str(tmp_path)), stack, tmp_path / "store")
    assert len(store) == 1 and store.numpy("label")[0] == "dog"
    with pytest.raises(ValueError, match="no column audio"):
        store.numpy("audio")


def test_no_store_is_a_clear_error(tmp_path):
    with pytest.raises(ValueError, match="no store of embeddings"):
        Store(tmp_path / "nothing").numpy("visual")


def test_store_lives_in_any_file_system_that_fsspec_knows(stack):
    vectors = np.eye(3, dtype=np.float32)
    store, settings = Store("memory://bucket/store"), {"aggregate": "mean"}
    store.write(0, ["a", "b"], [Row("a", None, None, "ä", vectors[0], vectors[1])], [("b", "broken")],
                {"visual": 3, "audio": 3}, settings)
    again = Store("memory://bucket/store")
    assert again.skipped() == [("b", "broken")] and again.missing([["a", "b"]], settings) == []
    assert np.array_equal(again.numpy("audio"), vectors[1:2]) and again.numpy("caption")[0] == "ä"


def test_picture_and_sound_of_a_long_clip_are_its_same_first_seconds(tmp_path, stack):
    """Two films that part after the first seconds, in picture and in sound, are one and the same."""
    for name, end in (("short", 0), ("long", 60)):
        write_video(tmp_path / f"{name}.mp4", [40] * 27 + [40 + 3 * number for number in range(end)])
        tail = np.random.default_rng(0).uniform(-1, 1, SAMPLE_RATE * end // 10)
        soundfile.write(tmp_path / f"{name}.wav", np.concatenate([sine(300, samples=SAMPLE_RATE * 27 // 10), tail]),
                        SAMPLE_RATE)
    store = embed(open_source(str(tmp_path)), stack, tmp_path / "store", EmbedOptions(frame_rate=5.0))
    assert "same first seconds" in store.settings["window"]
    for column in ("visual", "audio"):
        one, other = store.numpy(column)
        assert np.allclose(one, other, atol=2e-3), column


def test_two_runs_into_one_store_at_once_make_the_same_table(tmp_path, folder, stack, whole, small):
    listing, meet = open_source(str(folder)), threading.Barrier(2, timeout=60)

    def side_by_side(jobs, stack, options):
        for done in run_here(jobs, stack, options):
            meet.wait()  # both are about to write the same shard
            yield done

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(embed, listing, stack, tmp_path / "store", resume=True, run=side_by_side) for _ in "ab"]
        stores = [run.result() for run in runs]
    assert_same(stores[0], whole)
    assert not list((tmp_path / "store").glob(".*"))


# ------------------------------------------------------------------------------------------------------------ resume


def test_a_run_that_ends_after_any_batch_goes_on_to_the_same_table(tmp_path, folder, stack, whole, small):
    listing = open_source(str(folder))
    for batches in range(6):

        def cut_short(jobs, stack, options):
            for number, done in enumerate(run_here(jobs, stack, options)):
                if number == batches:
                    raise KeyboardInterrupt
                yield done

        path = tmp_path / str(batches)
        with pytest.raises(KeyboardInterrupt):
            embed(listing, stack, path, run=cut_short)
        assert len(Store(path).shards()) == batches // 2
        assert_same(embed(listing, stack, path, resume=True), whole)


def test_a_run_that_ends_while_a_shard_is_written_leaves_none_or_a_whole_one(tmp_path, folder, stack, whole, small,
                                                                            monkeypatch):
    listing, put = open_source(str(folder)), Store._put
    for content in (b"", b"PAR1 half of it"):

        def torn(store, path, whole_content):
            put(store, path.replace("part-", ".part-") + ".part", content)
            raise KeyboardInterrupt

        monkeypatch.setattr(Store, "_put", torn)
        with pytest.raises(KeyboardInterrupt):
            embed(listing, stack, tmp_path / str(len(content)))
        monkeypatch.setattr(Store, "_put", put)
        assert_same(embed(listing, stack, tmp_path / str(len(content)), resume=True), whole)


def test_batches_that_come_in_any_order_make_the_same_table(tmp_path, folder, stack, whole, small):
    def shuffled(jobs, stack, options):
        done = list(run_here(jobs, stack, options))
        return (done[place] for place in np.random.default_rng(0).permutation(len(done)))

    assert_same(embed(open_source(str(folder)), stack, tmp_path / "store", run=shuffled), whole)


def in_a_session_of_its_own(arguments: list[str]) -> None:
    """A command in a process that was forked off this one, which has loaded the libraries already."""
    os.setsid()
    torch.set_num_threads(1)  # OpenMP's threads do not outlive a fork
    embeddings.DECODERS = 2  # they are killed with it
    main(arguments)


def test_the_command_killed_twice_and_started_again_makes_the_same_table(tmp_path, folder, whole, small):
    forking = multiprocessing.get_context("fork")
    path = tmp_path / "store"
    command = ["embed", str(folder), "--out", str(path), "--resume"]
    for shards in (1, 2):
        run = forking.Process(target=in_a_session_of_its_own, args=(command,))
        run.start()
        while run.is_alive() and len(list(path.glob("part-*.parquet"))) < shards:
            time.sleep(0.002)
        if run.is_alive():
            os.killpg(run.pid, signal.SIGKILL)
        run.join()
        assert len(Store(path).shards()) >= shards
    assert main(command) == (2 if Store(path).skipped() else 0)  # some clips of the folder are damaged
    assert_same(Store(path), whole)
    assert not list(path.glob(".*"))


def test_a_longer_limit_goes_on_where_the_shorter_one_ended(tmp_path, folder, stack, whole, small):
    listing = open_source(str(folder))
    for limit in (3, 4, 6, 100):
        store = embed(listing.sample(limit), stack, tmp_path / "store", resume=True)
    rows, wanted = (dict(zip(one.numpy("id"), one.numpy("audio"))) for one in (store, whole))
    assert rows.keys() == wanted.keys() and all(np.allclose(rows[name], wanted[name], atol=1e-5) for name in rows)


def test_a_store_of_something_else_is_refused(tmp_path, folder, stack, whole, small):
    listing, path = open_source(str(folder)), whole.path
    with pytest.raises(ValueError, match="add --resume"):
        embed(listing, stack, path)
    with pytest.raises(ValueError, match="aggregate mean, not first"):
        embed(listing, stack, path, EmbedOptions("first"), resume=True)
    with pytest.raises(ValueError, match="another list of clips"):
        embed(Listing("other", listing.sources[1:], []), stack, path, resume=True)
    with pytest.raises(ValueError, match="more clips than are listed"):
        embed(listing.sample(3), stack, path, resume=True)
    other = load_stack("mini", "cpu")
    with torch.no_grad():
        other.audio.model.logit_scale_a += 1
    with pytest.raises(ValueError, match="made with clap_sha256"):
        embed(listing, other, path, resume=True)
    assert len(whole) == PAIRS - 1


# ----------------------------------------------------------------------------------------------------------- command


def test_command_embeds_soundworld(tmp_path, stack, capsys):
    assert main(["embed", "soundworld:test", "--out", str(tmp_path / "store"), "--limit", "3", "--seed", "2"]) == 0
    assert "3 clips in" in capsys.readouterr().out
    scenes = [make_scene("test", index, 2) for index in range(3)]
    store = Store(tmp_path / "store")
    assert list(store.numpy("label")) == [scene.label for scene in scenes]
    pictures = stack.vision.embed_images([draw(scene) for scene in scenes])
    sounds = stack.audio.embed_audio([synthesise(scene) for scene in scenes], SAMPLE_RATE)
    assert np.allclose(store.numpy("visual"), pictures, atol=1e-5)
    assert np.allclose(store.numpy("audio"), sounds, atol=1e-5)


@pytest.mark.parametrize("arguments, message", [
    (["nowhere"], "neither a folder"), (["soundworld:test", "--limit", "0"], "limit is 0"),
    (["soundworld:test", "--frame-rate", "0"], "frame rate is 0"), (["soundworld:test", "--seed", "-1"], "seed is -1"),
])
def test_command_refuses_in_one_line(tmp_path, capsys, arguments, message):
    assert main(["embed", *arguments, "--out", str(tmp_path / "store")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "store").exists()


def test_bad_sounds_are_skipped_and_odd_ones_embedded(tmp_path, stack):
    sounds = {"silence": np.zeros(8000), "one sample": np.ones(1) / 2, "no sample": np.zeros(0),
              "not a number": np.full(800, np.nan), "absurd": np.tile([1e38, -1e38], 400), "5.1": np.tile(sine(440, samples=8000)[:, None], 6)}
    for name, samples in sounds.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, SAMPLE_RATE, subtype="FLOAT")
        halves((0, 0, 0), (255, 0, 0)).save(tmp_path / f"{name}.png")
    write_video(tmp_path / "mute.mp4", [10, 20])
    store = embed(open_source(str(tmp_path)), stack, tmp_path / "store")
    assert set(store.numpy("id")) == {"5.1"}
    assert np.isfinite(store.numpy("audio")).all()
    reasons = dict(store.skipped())
    assert "silent or constant" in reasons["silence"] and "silent or constant" in reasons["one sample"]
    assert "holds no sound" in reasons["no sample"] and "no numbers" in reasons["not a number"]
    assert "not finite" in reasons["absurd"] and "holds no sound" in reasons["mute"]


# ------------------------------------------------------------------------------------------------------- real inputs


@pytest.mark.skipif(not (PHOTOS and VIDEOS and RECORDINGS), reason="../shared/real is absent")
def test_photographs_recordings_and_a_video_are_embedded_as_by_hand(tmp_path, stack):
    for photo, recording in zip(PHOTOS, RECORDINGS[:4]):
        (tmp_path / f"{photo.stem}.jpg").symlink_to(photo)
        (tmp_path / f"{photo.stem}.wav").symlink_to(recording)
    (tmp_path / "film.mp4").symlink_to(VIDEOS[0])
    listing = open_source(str(tmp_path))
    store = embed(listing, stack, tmp_path / "store", EmbedOptions(frame_rate=1.0))
    assert list(store.numpy("id")) == [source.id for source in listing.sources] and len(store) == 5
    for row in store.pandas().itertuples():
        film = row.id == "film"
        frames = sample_frames(VIDEOS[0], 1.0, seconds=SECONDS) if film else load_frames(tmp_path / f"{row.id}.jpg")
        assert len(frames) == (3 if film else 1)
        sound = load_audio(tmp_path / (row.id + (".mp4" if film else ".wav")), SAMPLE_RATE)
        assert np.allclose(row.visual, stack.vision.embed_frames(frames), atol=1e-4)
        assert np.allclose(row.audio, stack.audio.embed_audio([sound], SAMPLE_RATE)[0], atol=1e-4)


def test_pictures_stay_bytes_on_the_way_and_become_exactly_what_open_clip_makes_of_them(stack):
    sizes = ((128, 128), (300, 90), (50, 200))
    pictures = [draw(make_scene("test", number)).resize(size) for number, size in enumerate(sizes)]
    fitted = torch.stack([stack.vision.fit(picture) for picture in pictures])
    assert fitted.dtype == torch.uint8
    whole = torch.stack([stack.vision.preprocess(picture) for picture in pictures])
    assert torch.equal(stack.vision.normalise(fitted).cpu(), whole)


# ------------------------------------------------------------------------------------------------------------- lanes


@pytest.mark.parametrize("lanes", [1, 3])
def test_lanes_keep_the_order_and_give_the_threads_back(lanes):
    threads, share = torch.get_num_threads(), []

    def slow_at_first(item):
        time.sleep(0.02 * (item == 0))
        share.append(torch.get_num_threads())
        return -item

    assert list(parallel_map(slow_at_first, range(7), lanes)) == [-item for item in range(7)]
    assert set(share) == {max(threads // lanes, 1)} and torch.get_num_threads() == threads


def test_lanes_take_no_more_than_they_can_do_and_pass_errors_on():
    taken = []
    results = parallel_map(lambda item: 1 // item, (taken.append(item) or item for item in [1, 1, 1, 0] + 8 * [1]), 2)
    assert next(results) == 1 and len(taken) == 5
    with pytest.raises(ZeroDivisionError):
        list(results)
    assert len(taken) < 12


def test_what_runs_in_a_lane_ends_and_what_waits_is_dropped_when_the_caller_fails():
    begun = []

    def work(item, check):
        begun.append(item)
        for _ in range(3000):  # a lane that is not stopped would be done after 3 s
            check()
            time.sleep(0.001)

    with pytest.raises(KeyboardInterrupt), Lanes(2) as pool:
        futures = [pool.submit(work, item, pool.check) for item in range(5)]
        while len(begun) < 2:
            time.sleep(0.001)
        raise KeyboardInterrupt
    assert sorted(begun) == [0, 1] and all(future.cancelled() for future in futures[2:])
    assert [type(future.exception()) for future in futures[:2]] == [CancelledError] * 2


def test_lanes_within_lanes_share_the_threads_of_theirs():
    threads, seen = torch.get_num_threads(), []

    def outer(_):
        before = torch.get_num_threads()
        with Lanes(2) as pool:
            inner = list(pool.map(lambda _: torch.get_num_threads(), range(2)))
        seen.append((before, *inner, torch.get_num_threads()))

    try:
        torch.set_num_threads(4)
        with Lanes(2) as pool:
            list(pool.map(outer, range(8)))
        assert set(seen) == {(2, 1, 1, 2)} and torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(threads)


def test_a_gpu_is_fed_by_other_processes_with_what_cores_make_for_themselves(folder, stack, monkeypatch):
    monkeypatch.setattr(embeddings, "DECODERS", 2)
    jobs, prepare, towers = batch_jobs(0, pairs(folder).sources), preparation(stack), partial(
        encode, stack, aggregate="mean")
    on_cores, beside_a_gpu = (list(from_sources(jobs, prepare, towers, device)) for device in ("cpu", "cuda"))
    assert [len(one.rows) for one in on_cores] == [len(one.rows) for one in beside_a_gpu] == [7, 3]
    for ours, theirs in zip(on_cores, beside_a_gpu):
        assert ours.skipped == theirs.skipped and [row.id for row in ours.rows] == [row.id for row in theirs.rows]
        for mine, other in zip(ours.rows, theirs.rows):
            assert np.allclose(mine.visual, other.visual, atol=1e-5) and np.allclose(mine.audio, other.audio, atol=1e-5)


# -------------------------------------------------------------------------------------------------------- SoundWorld


def test_embeddings_of_the_world_are_kept_and_grow(tmp_path, stack, monkeypatch):
    monkeypatch.setenv("V2A_CACHE", str(tmp_path))
    four = embed_world(stack, "test", 4, seed=1)
    monkeypatch.setattr(embeddings, "run_here", None)
    two = embed_world(stack, "test", 2, seed=1)
    monkeypatch.undo()
    monkeypatch.setenv("V2A_CACHE", str(tmp_path))
    six = embed_world(stack, "test", 6, seed=1)
    assert np.array_equal(two.audio, four.audio[:2]) and np.allclose(six.visual[:4], four.visual, atol=1e-5)
    assert list(six.labels) == [make_scene("test", index, 1).label for index in range(6)]
    store = world_store(stack, "test", 6, seed=1)
    assert [Path(store.path)] == [path for path in (tmp_path / "embeddings").iterdir() if path.is_dir()]
    assert list(store.numpy("label")) == list(six.labels)


@pytest.mark.parametrize("split, count", EMBEDDED.items())
def test_the_shipped_embeddings_are_those_of_the_shipped_encoders(tmp_path, stack, monkeypatch, split, count):
    monkeypatch.setenv("V2A_CACHE", str(tmp_path))
    monkeypatch.setattr(embeddings, "run_here", None)  # nothing is embedded
    table = embed_world(stack, split, count)
    rows = [0, count // 2, count - 1]
    scenes = [make_scene(split, row) for row in rows]
    assert np.allclose(table.visual[rows], stack.vision.embed_images([draw(scene) for scene in scenes]), atol=1e-4)
    sounds = stack.audio.embed_audio([synthesise(scene) for scene in scenes], SAMPLE_RATE)
    assert np.allclose(table.audio[rows], sounds, atol=1e-4)


def test_embeddings_of_other_encoders_are_not_taken_for_ones_own(tmp_path, stack, monkeypatch):
    monkeypatch.setenv("V2A_CACHE", str(tmp_path))
    monkeypatch.setattr(embeddings, "store_settings", lambda *asked: store_settings(*asked) | {"clip_sha256": "0"})
    assert len(world_store(stack, "val", 2)) == 2
