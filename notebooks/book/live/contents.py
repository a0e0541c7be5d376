"""What the page shows and calculates with beside the networks: settings, tables of numbers, drawings, the map.

Sizes and names all come from the stack that is given, so that other weights need no change here.
"""

import inspect
import io
from itertools import product

import numpy as np
import soundfile
from PIL import Image
from soundworld import CLASSES, Scene, Thing, draw, make_scene, synthesise
from soundworld.captions import COUNTS, DISTANCES, SIZES, noun
from soundworld.scene import BACKGROUNDS
from umap import UMAP

from v2a_utils.data import batches
from v2a_utils.data.audio import LOUDNESS, even_loudness
from v2a_utils.mappers import photographs
from v2a_utils.mappers.model import SAMPLERS, TRAIN_STEPS
from v2a_utils.mappers.registry import mapper_familiarity, trained_mapper
from v2a_utils.models import photo, vocoder
from v2a_utils.pipeline import TRAINED, SoundOptions, map_embeddings, mapper_choices
from v2a_utils.widgets import encode_mp3

LEVELS = (0.1, 0.5, 0.9)  # of size and distance among the drawings, in a thing's own 0 to 1
SAME_CLASS = 10  # scenes of each class on the map
GAME = 2  # of them, for each class, are also asked about in the game, with their sound uncompressed
SPLIT, SEED = "test", 0
NEAREST, SHARPNESS = 5, 30.0  # points that place a new one on the map, and how fast their weight falls with the cosine
STEPS = 12  # of denoising, unless the reader wants others: half the package's, for half the wait
PREVIEW_SHARE = 0.3  # of the time of making a sound that pictures of it may take


def sigmas_of(scheduler) -> np.ndarray:
    """Noise over signal at each of a scheduler's trained times, (times,)."""
    kept = scheduler.alphas_cumprod.double().numpy()
    return np.sqrt((1 - kept) / kept).astype(np.float32)


def settings_and_numbers(stack, mappers: dict) -> tuple[dict, dict[str, np.ndarray]]:
    """The page's settings, for JSON, and its tables, float32 each, except for drawings and map.

    ValueError for a tagger at another rate than the generator's: the page does not resample.
    """
    generator, bridge = stack.generator, trained_mapper(stack, "words")
    scheduler, config = generator._scheduler("dpm++"), generator.vocoder.config
    familiarity = mapper_familiarity(stack, mapper_choices(stack)[0])
    resize, crop, *_ = stack.vision.preprocess.transforms
    options, seconds = SoundOptions(), generator.clip_seconds
    choices = [name for name in mapper_choices(stack)
               if name != "none" or stack.vision.embed_dim == generator.embed_dim]
    settings = {
        "picture": {"resize": resize.size, "size": crop.size[0]}, "photo": None, "classes": _class_names(),
        "vocabulary": _vocabulary(stack), "choices": choices,
        "mappers": {name: _sampling(mapper) for name, mapper in mappers.items()}, "mapperSalt": batches.MAPPER,
        "words": {"visualScale": bridge.config["visual_scale"]}, "audioDim": generator.embed_dim,
        "trainSteps": TRAIN_STEPS, "latents": list(generator.latent_shape(seconds)),
        "predicts": scheduler.config.prediction_type, "seconds": seconds, "sampleRate": generator.sample_rate,
        "mels": config.model_in_dim, "familiarLimit": familiarity.limit, "loudness": LOUDNESS,
        "vocoder": {name: config[name] for name in ("n_fft", "iterations", "momentum", "updates", "rescale_every")}
                   | {"hop": generator.hop, "most": vocoder.MOST},
        "tagger": None, "previewShare": PREVIEW_SHARE, "steps": STEPS, "guidance": options.guidance,
        "nearest": NEAREST, "sharpness": SHARPNESS,
    }
    tables = {
        "mean": familiarity.mean, "precision": familiarity.precision, "nullEmbedding": generator.null_embedding,
        "sigmas": sigmas_of(scheduler), "mapperSigmas": sigmas_of(SAMPLERS["dpm++"]()),
        "seen": bridge.seen, "answers": bridge.answers, "vocoderFilters": generator.vocoder.filters,
        "vocabulary": stack.vision.embed_texts([_sentence(*chosen) for chosen in settings["vocabulary"]["sentences"]]),
    }
    if stack.has("tagger"):
        model = stack.tagger.model
        if stack.tagger.sample_rate != generator.sample_rate:
            raise ValueError(f"the tagger hears {stack.tagger.sample_rate} Hz, the generator makes "
                             f"{generator.sample_rate} Hz, and the page does not resample")
        settings["tagger"] = {"n_fft": model.log_mel.n_fft, "hop": model.log_mel.hop, "names": stack.tagger.names}
        tables["taggerFilters"] = model.log_mel.filters
    if stack.has("photo"):
        settings["photo"], drawn = _photographs(stack)
        tables |= drawn
    return settings, {name: np.ascontiguousarray(table, np.float32) for name, table in tables.items()}


def _sampling(mapper) -> dict:
    """How a mapper is sampled: its kind, the noise's temperature, and the steps that it takes unless told otherwise."""
    steps = inspect.signature(mapper.map).parameters.get("steps")
    return {"kind": mapper.kind, "temperature": mapper.config.get("temperature", 1.0),
            "steps": steps.default if steps else 0}


def _class_names() -> list[dict]:
    return [{"name": name, "label": noun(name), "plural": noun(name, 2)} for name in CLASSES]


def _vocabulary(stack) -> dict:
    """All sentences "a picture of two small dogs near", as places in the scales, and CLIP's scale for its cosines."""
    scales = {"thing": [noun(name) for name in CLASSES], "count": COUNTS, "size": SIZES, "distance": DISTANCES}
    return {"scales": [{"name": name, "words": list(words)} for name, words in scales.items()],
            "sentences": list(product(*(range(len(words)) for words in scales.values()))),
            "scale": float(stack.vision.model.logit_scale.detach().exp())}


def _sentence(thing: int, count: int, size: int, distance: int) -> str:
    start = "a" if count == 0 else COUNTS[count]
    return f"a picture of {start} {SIZES[size]} {noun(CLASSES[thing], count + 1)} {DISTANCES[distance]}"


def _photographs(stack) -> tuple[dict, dict[str, np.ndarray]]:
    """What the way of photographs needs: the classifier's settings, and the sounds that a class's name stands for."""
    bridge, eye = photographs._bridge(stack), stack.photo
    numbers = [sorted(i for part in photo.IMAGENET.get(name, []) for i in part) for name in CLASSES]
    names = [eye._info.index_to_description(i).split(",")[0] for i in range(1000)]
    fits = [{"resize": fit.transforms[0].size, "size": fit.transforms[1].size[0]} for fit in eye.fits]
    settings = {"fits": fits, "classes": numbers, "names": names, "leastShare": photo.LEAST_SHARE,
                "drawn": photo.DRAWN, "bias": float(eye.probe["bias"]), "strange": photo.STRANGE}
    probe = {"probe": eye.probe["weight"]}
    if not len(bridge.sounds):
        return settings, probe | {"sounds": bridge.heard, "soundsOfClass": np.eye(len(CLASSES))}
    return settings, probe | {"sounds": bridge.sounds, "soundsOfClass": bridge._sounds_of(slice(None))}


# ---------------------------------------------------------------------------------------------------------- pictures


def webp(picture: Image.Image, lossless: bool = True) -> np.ndarray:
    """A picture's bytes, compressed."""
    buffer = io.BytesIO()
    picture.save(buffer, "webp", lossless=lossless, quality=100 if lossless else 85, method=4)
    return np.frombuffer(buffer.getvalue(), np.uint8)


def drawing(name: str, size: int, count: int, distance: int) -> Image.Image:
    """One of the strip's drawings: a class in levels 0 to 2 of size, count and distance. The rest is its own."""
    number = CLASSES.index(name)
    thing = Thing(name, LEVELS[size], count + 1, LEVELS[distance], hue=(0.13 + 0.618 * number) % 1,
                  mirrored=bool(number % 2), tilt=0.0, place=0.5, timbre=0.5, tempo=0.5, take=0)
    return draw(Scene(SPLIT, SEED, 0, (thing,), "flat", BACKGROUNDS[number % len(BACKGROUNDS)], "day", stroke=number))


def drawings() -> dict[str, np.ndarray]:
    """All of the strip's drawings by their class's number and levels, "3 0 2 1"."""
    levels = product(range(len(CLASSES)), *(range(3),) * 3)
    return {" ".join(map(str, each)): webp(drawing(CLASSES[each[0]], *each[1:])) for each in levels}


# --------------------------------------------------------------------------------------------------------------- map


def map_scenes() -> list[Scene]:
    """The first scenes of the split with a single thing, SAME_CLASS of each class, in the classes' order."""
    found, index = {name: [] for name in CLASSES}, 0
    while min(map(len, found.values())) < SAME_CLASS:
        scene = make_scene(SPLIT, index, SEED)
        if len(scene.things) == 1:
            found[scene.label].append(scene)
        index += 1
    return [scene for scenes in found.values() for scene in scenes[:SAME_CLASS]]


def placed(rows: np.ndarray, points: np.ndarray, plane: np.ndarray) -> np.ndarray:
    """Unit-norm embeddings (n, d) on the plane (m, 2) of points (m, d): the mean place of the NEAREST by cosine,
    weighted by exp(SHARPNESS cosine), (n, 2)."""
    cosines = rows @ points.T
    near = np.argsort(-cosines, axis=1)[:, :NEAREST]
    weights = np.exp(SHARPNESS * np.take_along_axis(cosines, near, 1))
    return (weights[..., None] * plane[near]).sum(1) / weights.sum(1, keepdims=True)


def map_of(stack, choices: list[str]) -> tuple[dict, dict[str, np.ndarray]]:
    """The map: settings, and embeddings, places, pictures and sounds of its scenes.

    `points` are the scenes' pictures by CLIP, then their sounds by CLAP; `plane` has their places by UMAP, 0 to 1, and
    `places NAME` those of the pictures after the mapper NAME.
    """
    scenes = map_scenes()
    pictures, waves = [draw(scene) for scene in scenes], [synthesise(scene) for scene in scenes]
    visual = stack.vision.embed_images(pictures)
    audio = stack.audio.embed_audio(waves, stack.generator.sample_rate)
    points = np.concatenate([visual, audio])
    plane = UMAP(n_neighbors=15, metric="cosine", random_state=SEED, n_jobs=1).fit_transform(points)
    low, high = plane.min(0), plane.max(0)
    plane = (plane - low) / (high - low)
    numbers = {"points": points, "plane": plane}
    for name in choices:
        numbers[f"places {name}"] = placed(map_embeddings(stack, visual, name, SEED), points, plane)
    files = {}
    for number, (picture, wave) in enumerate(zip(pictures, waves)):
        files[f"picture {number}"] = webp(picture, lossless=False)  # to be looked at only
        files[f"sound {number}"] = np.frombuffer(encode_mp3(wave, stack.generator.sample_rate), np.uint8)
        if number % SAME_CLASS < GAME:
            files[f"truth {number}"] = _flac(wave, stack.generator.sample_rate)
    labels = [CLASSES.index(scene.label) for scene in scenes]
    numbers = {name: np.ascontiguousarray(table, np.float32) for name, table in numbers.items()}
    return {"labels": labels}, numbers | files


def _flac(wave: np.ndarray, rate: int) -> np.ndarray:
    buffer = io.BytesIO()
    soundfile.write(buffer, even_loudness(wave), rate, format="FLAC", subtype="PCM_16")
    return np.frombuffer(buffer.getvalue(), np.uint8)


def mappers_of(stack) -> dict:
    """The trained mappers that lie with a stack, by kind."""
    return {name: trained_mapper(stack, name) for name in mapper_choices(stack) if name in TRAINED}
