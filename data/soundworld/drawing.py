"""Draws a scene as a small picture-book page: a background, its light, the figures, and a drawing style.

What the visible causes do to a picture: `size` scales a figure, `count` repeats it, and `distance` moves it up
towards the horizon, shrinks it a little and lets it fade into the colour of the air.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from soundworld.figures import STILL, Colour, Gesture, Shape, dark, figure, light, mix, smooth
from soundworld.scene import IMAGE_SIZE, Scene, Thing
from soundworld.synthesis import events

SUPER = 3  # drawn this many times larger, then averaged: smooth edges
HORIZON = 62  # pixels from the top
NEAR, FAR = 119, 76  # where things stand at distance 0 and 1, pixels from the top
FARTHEST, HAZE = 0.68, 0.55  # scale, and share of the air's colour, at distance 1
# Places in a group in units of the figure (right, down), and the pixels of a unit at sizes 0 and 1, distance 0.
GROUPS = {1: ((0.0, 0.0),), 2: ((-0.54, -0.03), (0.54, 0.0)), 3: ((-0.67, -0.24), (0.67, -0.24), (0.0, 0.0))}
UNITS = {1: (44, 94), 2: (32, 55), 3: (29, 51)}

RISE, FALL = 0.04, 0.25  # s that a gesture takes up to the onset of its sound, and at most to be over again
GESTURES_IN_STILLS = 0.3  # share of the pictures without a moment that catch their things in mid-gesture

BOARD, PAPER, GRAPHITE = (40, 58, 56), (246, 241, 230), (58, 56, 66)
_ROWS, _COLUMNS = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE].astype(np.float32)
_DITHER = ((7 * _ROWS + 11 * _COLUMNS) % 16)[..., None] / 16


class Light(NamedTuple):
    """Factors for the colours of the world, the figures and the room, and the sky if it is not day's."""

    world: Colour
    figures: Colour
    room: Colour
    sky: tuple[Colour, Colour] | None  # top and horizon
    air: Colour | None  # what far things fade into


LIGHTS_OF = {
    "day": Light((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), None, None),
    "dusk": Light((0.92, 0.76, 0.72), (1.0, 0.90, 0.85), (1.0, 0.86, 0.76), ((122, 104, 160), (255, 190, 138)),
                  (198, 164, 186)),
    "night": Light((0.38, 0.45, 0.64), (0.84, 0.87, 1.0), (0.50, 0.48, 0.64), ((24, 30, 70), (70, 86, 140)),
                   (112, 126, 176)),
}
DAY_SKIES = {
    "meadow": ((140, 198, 236), (226, 241, 240)), "beach": ((122, 196, 232), (236, 244, 232)),
    "snow": ((176, 202, 226), (236, 240, 246)), "city": ((158, 192, 226), (240, 232, 224)),
    "hills": ((150, 204, 232), (246, 238, 214)),
}
WALLS = ((244, 222, 190), (202, 222, 214), (232, 206, 206), (208, 214, 234), (240, 232, 206))


class Brush:
    """Paints in picture pixels (0..128) on a canvas SUPER times larger, tinting every colour by the light."""

    def __init__(self, image: Image.Image, tint: Colour):
        self.image, self.tint = image, tint
        self.canvas = ImageDraw.Draw(image, "RGBA")

    def colour(self, colour: Colour, alpha: float = 1.0):
        return (*(int(c * t) for c, t in zip(colour, self.tint)), int(255 * alpha))

    def poly(self, points, colour: Colour, alpha: float = 1.0):
        self.canvas.polygon((np.asarray(points, float) * SUPER).ravel().tolist(), self.colour(colour, alpha))

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, alpha: float = 1.0):
        self.canvas.rectangle([v * SUPER for v in (x0, y0, x1, y1)], self.colour(colour, alpha))

    def oval(self, x: float, y: float, rx: float, ry: float, colour: Colour, alpha: float = 1.0):
        self.canvas.ellipse([(x - rx) * SUPER, (y - ry) * SUPER, (x + rx) * SUPER, (y + ry) * SUPER],
                            self.colour(colour, alpha))

    def line(self, points, width: float, colour: Colour, alpha: float = 1.0):
        self.canvas.line([v * SUPER for point in points for v in point], self.colour(colour, alpha),
                         max(1, round(width * SUPER)))

    def gradient(self, top: float, bottom: float, first: Colour, last: Colour):
        rows = max(1, round((bottom - top) * SUPER))
        ramp = np.linspace(self.colour(first)[:3], self.colour(last)[:3], rows)[:, None].astype(np.uint8)
        self.image.paste(Image.fromarray(ramp).resize((self.image.width, rows)), (0, round(top * SUPER)))


def draw(scene: Scene, at: float | None = None) -> Image.Image:
    """Picture of a scene: RGB, IMAGE_SIZE x IMAGE_SIZE, a pure function of its arguments.

    `at` is a moment of the scene's sound in seconds: what begins to sound then is seen in its gesture. Without it the
    picture is a still, which knows nothing of the sound's events.
    """
    gestures = _caught(scene) if at is None else _at(scene, at)
    picture, alpha = _page(scene, gestures)
    if any(gesture.strength for gesture in gestures.values()):  # as bright as at rest, or films would flash
        rest, _ = _page(scene, {who: gesture._replace(strength=0.0) for who, gesture in gestures.items()})
        picture = picture + _DITHER * (alpha > 0)  # so that less than a level can be made up for
        for _ in range(4):
            picture = picture + 0.7 * (_luminance(rest) - _luminance(picture)) * alpha / alpha.mean()
    return Image.fromarray(_printed(picture))


def _printed(picture: np.ndarray) -> np.ndarray:
    return np.clip(picture, 0, 255).astype(np.uint8)


def _luminance(picture: np.ndarray) -> float:
    """Mean luminance (0..255) of a picture (H, W, 3) as it is printed."""
    return float(_printed(picture).mean((0, 1)) @ (0.299, 0.587, 0.114))


def _page(scene: Scene, gestures: dict[tuple[int, int], Gesture]) -> tuple[np.ndarray, np.ndarray]:
    """The finished page (H, W, 3) in about 0..255 and the share of the figures in every pixel (H, W, 1)."""
    rng = np.random.default_rng(scene.stroke)
    lighting = LIGHTS_OF[scene.light]
    page = Image.new("RGB", (IMAGE_SIZE * SUPER,) * 2)
    air = _paint_background(page, scene, lighting, rng)
    layer = Image.new("RGBA", page.size, (0, 0, 0, 0))
    manner = MANNERS[scene.style]
    for spot in _spots(scene, gestures):
        _shadow(page, spot)
        _paint_figure(layer, spot, manner, lighting.figures, manner.air or air, rng)
    back = np.asarray(page.reduce(SUPER), np.float32)
    front = np.asarray(layer.reduce(SUPER), np.float32)
    alpha = front[..., 3:] / 255
    return manner.finish(back, front[..., :3], alpha, rng), alpha


# ------------------------------------------------------------------------------------------------------ gestures
# (place in scene.things, individual) -> Gesture; who is not in it is at rest.


def _at(scene: Scene, moment: float) -> dict[tuple[int, int], Gesture]:
    """The gestures at a moment (s): up within RISE before an onset, down until FALL after it or the next one.

    A horse's legs do so the other way round: they are lifted at leisure, and come down on the onset.
    """
    gestures = {}
    for who in np.ndindex(len(scene.things), max(thing.count for thing in scene.things)):
        onsets = np.array([event.seconds for event in events(scene) if event[1:] == who])
        gaps, since = np.diff(onsets, append=np.inf), moment - onsets
        if scene.things[who[0]].name == "horse":
            gaps, since = np.diff(onsets, prepend=-np.inf), -since - RISE
        strengths = np.where(since < 0, 1 + since / RISE, 1 - since / np.minimum(FALL, 0.7 * gaps))
        turn = int(strengths.argmax()) if len(onsets) else 0
        gestures[who] = Gesture(float(np.clip(strengths[turn], 0, 1)) if len(onsets) else 0.0, turn)
    return gestures


def _caught(scene: Scene) -> dict[tuple[int, int], Gesture]:
    """The gestures of a still: none, or whatever the things were just doing."""
    rng = np.random.default_rng([scene.stroke, 1])
    if rng.random() >= GESTURES_IN_STILLS:
        return {}
    return {(number, individual): Gesture(float(rng.choice([0, 1]) * rng.uniform(0.4, 1)), int(rng.integers(6)))
            for number, thing in enumerate(scene.things) for individual in range(thing.count)}


# ---------------------------------------------------------------------------------------------- where things are


class Spot(NamedTuple):
    """Where a figure stands (middle of its foot, pixels), pixels of its unit, the thing it belongs to, its gesture."""

    x: float
    y: float
    unit: float
    thing: Thing
    gesture: Gesture


def _spots(scene: Scene, gestures: dict[tuple[int, int], Gesture]) -> list[Spot]:
    """All figures of a scene, the ones farther back first."""
    duet = len(scene.things) == 2
    spots = []
    for number, thing in enumerate(scene.things):
        smallest, largest = UNITS[2 if duet else thing.count]
        unit = smallest * (largest / smallest) ** thing.size * FARTHEST ** thing.distance
        offsets = GROUPS[thing.count]
        reach = (0.58 + max(right for right, _ in offsets)) * unit
        low, high = (0, IMAGE_SIZE) if not duet else (0, 64) if thing.place < 0.5 else (64, IMAGE_SIZE)
        x = np.clip(thing.place * IMAGE_SIZE, low + reach, max(high - reach, low + reach))
        y = NEAR + (FAR - NEAR) * thing.distance
        if thing.name == "rain":  # hangs from the sky, and sinks towards the horizon when it is far away
            y = 5 + 27 * thing.distance + (1.0 - offsets[0][1]) * unit
        spots += [Spot(x + right * unit, y + down * unit, unit, thing, gestures.get((number, individual), STILL))
                  for individual, (right, down) in enumerate(offsets)]
    return sorted(spots, key=lambda spot: spot.y)


def _place(points: np.ndarray, spot: Spot) -> np.ndarray:
    """Unit box (N, 2) to canvas pixels (N, 2): mirror, tilt around the middle of the figure, scale, move."""
    angle = np.radians(spot.thing.tilt)
    c, s = np.cos(angle), np.sin(angle)
    x = -points[:, 0] if spot.thing.mirrored else points[:, 0]
    y = points[:, 1] - 0.4
    turned = np.stack([x * c - y * s, -(x * s + y * c) - 0.4], axis=1)
    return (turned * spot.unit + (spot.x, spot.y)) * SUPER


def _shadow(page: Image.Image, spot: Spot):
    if spot.thing.name == "rain":
        return
    brush = Brush(page, (1.0, 1.0, 1.0))
    for spread in (0.46, 0.40, 0.33):
        strength = 0.14 * (1 - 0.6 * spot.thing.distance)
        width = spread * spot.unit
        brush.oval(spot.x, spot.y - 0.01 * spot.unit, width, 0.17 * width, (24, 26, 52), strength)


# ------------------------------------------------------------------------------------------------------- figures


class Manner(NamedTuple):
    """A drawing style: contour of the shapes, what their colour becomes, colour of the air, and the last touches."""

    finish: Callable
    contour: float = 0.0  # pixels
    line: Callable = dark  # colour of a shape -> colour of its contour
    fill: Callable = tuple
    wobble: float = 0.0  # pixels
    thin: float = 2.6  # lines thinner than this many contours get none: they are lines already
    air: Colour | None = None  # that of the sky when None


def _paint_figure(layer: Image.Image, spot: Spot, manner: Manner, tint: Colour, air: Colour, rng: np.random.Generator):
    """Draw one figure on the RGBA layer."""
    canvas = ImageDraw.Draw(layer)
    # a cloud stands against the sky itself, and would vanish in the full haze
    haze = HAZE * spot.thing.distance * (0.85 if spot.thing.name == "rain" else 1.0)
    phase = rng.uniform(0, 6.28, 2)

    def final(colour: Colour):
        lit = tuple(c * t for c, t in zip(colour, tint))
        return (*(int(c) for c in mix(lit, air, haze)), 255)

    contour = manner.contour * (0.45 + 0.55 * spot.unit / UNITS[1][1]) * SUPER
    for run in _runs(figure(spot.thing.name, spot.thing.hue, spot.gesture)):
        placed = [(_place(shape.points, spot), shape.width * spot.unit * SUPER) for shape in run]
        if manner.wobble:
            placed = [(p + manner.wobble * SUPER * np.sin(p[:, ::-1] / 13 + phase), width) for p, width in placed]
        if contour:
            for (points, width), shape in zip(placed, run):
                if not shape.bare:
                    _contour(canvas, points, width, contour, manner.thin, final(manner.line(shape.colour)))
        colour = final(manner.fill(run[0].colour))
        for points, width in placed:
            _fill(canvas, points, width, colour)


def _runs(shapes: list[Shape]) -> list[list[Shape]]:
    """Neighbouring shapes of one colour together: they get a common contour, so that limbs grow out of the body."""
    runs = [[shapes[0]]]
    for shape in shapes[1:]:
        if shape.colour == runs[-1][0].colour:
            runs[-1].append(shape)
        else:
            runs.append([shape])
    return runs


def _fill(canvas: ImageDraw.ImageDraw, points: np.ndarray, width: float, colour):
    if width:
        _stroke(canvas, points, width, colour)
    else:
        canvas.polygon(points.ravel().tolist(), colour)


def _stroke(canvas: ImageDraw.ImageDraw, points: np.ndarray, width: float, colour):
    canvas.line(points.ravel().tolist(), colour, max(1, round(width)), joint="curve" if width > 4 else None)
    if width > 3:
        for x, y in (points[0], points[-1]):
            canvas.ellipse([x - width / 2, y - width / 2, x + width / 2, y + width / 2], colour)


def _contour(canvas: ImageDraw.ImageDraw, points: np.ndarray, width: float, contour: float, thin: float, colour):
    if width:
        if width > thin * contour:
            _stroke(canvas, points, width + 2 * contour, colour)
    elif np.ptp(points, axis=0).max() > 7 * contour:  # small details would drown in their contour
        closed = np.vstack([points, points[:2]])
        canvas.line(closed.ravel().tolist(), colour, max(1, round(2 * contour)), joint="curve")


# --------------------------------------------------------------------------------------------------- backgrounds


def _paint_background(page: Image.Image, scene: Scene, lighting: Light, rng: np.random.Generator) -> Colour:
    """Paint the background on the page and return the colour of its air."""
    if scene.background == "room":
        return _room(page, lighting, rng)
    top, low = lighting.sky or DAY_SKIES[scene.background]
    sky = Brush(page, (1.0, 1.0, 1.0))
    sky.gradient(0, HORIZON + 4, top, low)
    _heavens(sky, scene.light, rng)
    BACKGROUNDS_OF[scene.background](Brush(page, lighting.world), rng)
    return lighting.air or mix(low, top, 0.3)


def _heavens(sky: Brush, name: str, rng: np.random.Generator):
    """Sun, moon or stars, and thin clouds."""
    x, y = rng.uniform(12, 116), rng.uniform(9, 24)
    if name == "night":
        for sx, sy, r in rng.uniform((0, 0, 0.35), (128, 52, 0.8), (26, 3)):
            sky.oval(sx, sy, r, r, (255, 246, 214), 0.9)
        sky.oval(x, y, 7, 7, (250, 240, 206))
        sky.oval(x - 3, y - 1.5, 6, 6, (36, 44, 86))
        return
    sky.oval(x, y, 11, 11, (255, 244, 200), 0.35)
    sky.oval(x, y, 7.5, 7.5, (255, 238, 168) if name == "day" else (255, 150, 96))
    for cx, cy in rng.uniform((0, 8), (128, 38), (3, 2)):
        puffs = [(-13, 1), (-8, -2), (-2, -3.5), (4, -4), (8, -1.5), (13, 0.5), (6, 2.5), (-6, 2.5)]
        sky.poly(smooth(puffs) + (cx, cy), (255, 252, 246), 0.6)


def _ridge(brush: Brush, rng: np.random.Generator, height: float, rough: float, colour: Colour, number: int = 7):
    """A soft line of hills from the left to the right edge, filled down to the horizon."""
    x = np.linspace(-10, 138, number)
    y = HORIZON - height + rng.uniform(-rough, rough, number)
    line = smooth(np.stack([x, y], axis=1), closed=False)
    brush.poly(np.vstack([line, [(140, HORIZON + 6), (-12, HORIZON + 6)]]), colour)


def _scatter(rng: np.random.Generator, number: int) -> np.ndarray:
    """Places on the ground (number, 3): x, y and scale by perspective, farther ones first."""
    depth = np.sort(rng.random(number))
    return np.stack([rng.uniform(2, 126, number), HORIZON + 6 + 60 * depth, 0.35 + 0.65 * depth], axis=1)


def _meadow(brush: Brush, rng: np.random.Generator):
    _ridge(brush, rng, 6, 3, (172, 206, 168))
    for x in rng.uniform(0, 128, 7):
        r = rng.uniform(4, 8)
        brush.oval(x, HORIZON - 0.4 * r, r, r, (150, 194, 146))
    brush.gradient(HORIZON, 128, (200, 224, 152), (132, 190, 108))
    for x, y, s in _scatter(rng, 16):
        for lean in (-1.2, 0, 1.2):
            brush.line([(x, y), (x + lean * s, y - 3.6 * s)], 0.7, (96, 160, 88))
    petals = ((255, 250, 240), (255, 214, 120), (244, 160, 176))
    for k, (x, y, s) in enumerate(_scatter(rng, 12)):
        brush.oval(x, y, 1.5 * s, 1.5 * s, petals[k % 3])
        brush.oval(x, y, 0.6 * s, 0.6 * s, (236, 170, 60))


def _beach(brush: Brush, rng: np.random.Generator):
    brush.gradient(HORIZON - 6, HORIZON + 8, (96, 176, 204), (150, 216, 220))
    for x, y in rng.uniform((0, HORIZON - 4), (120, HORIZON + 5), (9, 2)):
        brush.line([(x, y), (x + 7, y)], 0.7, (226, 246, 246))
    x = rng.uniform(10, 118)
    brush.poly([(x - 5, HORIZON - 6), (x + 5, HORIZON - 6), (x + 3, HORIZON - 4), (x - 3, HORIZON - 4)], (170, 110, 90))
    brush.poly([(x, HORIZON - 7), (x, HORIZON - 18), (x + 6, HORIZON - 7)], (252, 246, 236))
    brush.gradient(HORIZON + 8, 128, (250, 234, 198), (238, 206, 150))
    shore = smooth([(-8, 7), (20, 9), (50, 6.5), (80, 9), (136, 7)], closed=False) + (0, HORIZON)
    brush.line(shore.tolist(), 1.8, (252, 252, 246))
    for x, y, s in _scatter(rng, 12)[2:]:
        brush.oval(x, y + 4, 1.8 * s, 1.0 * s, (226, 188, 136))
    for x, y, s in _scatter(rng, 3):
        starfish = [(x + 3 * s * np.sin(k * 2.513), y + 3 - 3 * s * np.cos(k * 2.513)) for k in range(5)]
        brush.poly(starfish, (240, 140, 116))


def _snow(brush: Brush, rng: np.random.Generator):
    _ridge(brush, rng, 13, 7, (200, 212, 230))
    _ridge(brush, rng, 5, 3, (220, 228, 240))
    for x in rng.uniform(2, 126, 8):
        h = rng.uniform(10, 18)
        for step in range(3):
            y, w = HORIZON + 2 - h * 0.28 * step, h * (0.30 - 0.07 * step)
            brush.poly([(x - w, y), (x + w, y), (x, y - 0.45 * h)], (112, 152, 148))
            brush.poly([(x - 0.45 * w, y - 0.25 * h), (x + 0.45 * w, y - 0.25 * h), (x, y - 0.45 * h)], (244, 248, 252))
    brush.gradient(HORIZON + 1, 128, (242, 245, 250), (206, 220, 238))
    for x, y, s in _scatter(rng, 8):
        brush.oval(x, y, 13 * s, 1.6 * s, (252, 253, 255), 0.7)
    for x, y in rng.uniform(0, 128, (24, 2)):
        brush.oval(x, y, 0.8, 0.8, (255, 255, 255), 0.9)


def _city(brush: Brush, rng: np.random.Generator):
    x = -4.0
    walls = ((196, 190, 206), (214, 196, 186), (182, 198, 212), (222, 208, 188))
    window, pane, alpha = brush, (232, 240, 246), 1.0
    if brush.tint[0] < 1:  # lit windows do not take the colour of the evening
        window, pane, alpha = Brush(brush.image, (1.0, 1.0, 1.0)), (255, 226, 150), 0.785
    while x < 128:
        w, h = rng.uniform(11, 19), rng.uniform(16, 46)
        brush.box(x, HORIZON - h, x + w - 1, HORIZON + 3, walls[int(rng.integers(4))])
        for row in range(int(h / 6) - 1):
            for column in range(int(w / 5)):
                if rng.random() < 0.75:
                    left, top = x + 1.8 + 5 * column, HORIZON - h + 3 + 6 * row
                    window.box(left, top, left + 2.4, top + 3.2, pane, alpha)
        x += w
    brush.gradient(HORIZON + 2, 128, (216, 212, 212), (178, 174, 182))
    brush.box(0, HORIZON + 2, 128, HORIZON + 5, (198, 190, 186))
    for k in range(-3, 4):
        brush.line([(64 + 14 * k, HORIZON + 5), (64 + 44 * k, 128)], 0.6, (164, 160, 170))
    for y in (74, 84, 97, 114):
        brush.line([(0, y), (128, y)], 0.6, (164, 160, 170))


def _hills(brush: Brush, rng: np.random.Generator):
    _ridge(brush, rng, 26, 9, (186, 204, 224), 6)
    _ridge(brush, rng, 16, 7, (168, 200, 196), 6)
    _ridge(brush, rng, 6, 4, (176, 210, 166), 6)
    brush.gradient(HORIZON, 128, (214, 222, 152), (186, 196, 104))
    for k in range(-6, 7):
        far, near = 64 + 9 * k, 64 + 33 * k
        furrow = [(far, HORIZON + 1), (far + 2.5, HORIZON + 1), (near + 9, 128), (near, 128)]
        brush.poly(furrow, (168, 184, 96), 0.4)
    for x in rng.uniform(4, 124, 3):
        brush.box(x - 0.6, HORIZON - 4, x + 0.6, HORIZON + 2, (140, 108, 84))
        brush.oval(x, HORIZON - 7, 4, 5, (132, 178, 124))


def _room(page: Image.Image, lighting: Light, rng: np.random.Generator) -> Colour:
    wall = WALLS[int(rng.integers(len(WALLS)))]
    brush = Brush(page, lighting.room)
    brush.gradient(0, HORIZON + 4, light(wall, 0.15), wall)
    for x in range(4, 128, 12):
        brush.box(x, 0, x + 5, HORIZON, light(wall, 0.35))
    left = float(rng.choice([10, 84]))
    brush.box(left - 2, 8, left + 34, 42, (252, 248, 240))
    top, low = lighting.sky or DAY_SKIES["hills"]
    Brush(page, (1.0, 1.0, 1.0)).box(left, 10, left + 32, 40, mix(top, low, 0.35))
    brush.box(left + 15, 10, left + 17, 40, (252, 248, 240))
    brush.box(left, 24, left + 32, 26, (252, 248, 240))
    frame = 128 - left - 26
    brush.box(frame, 14, frame + 20, 36, (170, 124, 84))
    brush.box(frame + 2, 16, frame + 18, 34, light(WALLS[int(rng.integers(len(WALLS)))], 0.5))
    brush.oval(frame + 10, 25, 5, 5, (232, 150, 120))
    brush.gradient(HORIZON, 128, (222, 186, 146), (196, 150, 106))
    brush.box(0, HORIZON - 4, 128, HORIZON, (250, 244, 234))
    for k in range(-6, 7):
        brush.line([(64 + 14 * k, HORIZON), (64 + 38 * k, 128)], 0.7, (176, 132, 94))
    brush.oval(64, 102, 56, 19, light(dark(wall, 0.3), 0.1), 0.55)
    brush.oval(64, 102, 50, 16, light(wall, 0.3), 0.55)
    return lighting.air or dark(wall, 0.28)


BACKGROUNDS_OF = {"meadow": _meadow, "beach": _beach, "snow": _snow, "city": _city, "hills": _hills}


# ------------------------------------------------------------------------------------------------ the last touches
# Each takes the background (H, W, 3), the figures (H, W, 3) and their alpha (H, W, 1) in 0..1, and returns (H, W, 3).


def _flat(back, front, alpha, rng):
    return back + (front - back) * alpha


def _shaded(back, front, alpha, rng):
    """Figures lit from the upper left as if they were round, on a page darker towards its corners."""
    hill = _blur(alpha[..., 0] * 255, 5) / 255
    slope = np.roll(hill, (-2, -2), (0, 1)) - np.roll(hill, (2, 2), (0, 1))
    slope += 0.25 * (64 - (_ROWS + 0.4 * _COLUMNS) * 0.75) / 64
    lit = front * (1 + 0.55 * np.clip(slope, -0.7, 0.5))[..., None] + 55 * np.clip(slope - 0.12, 0, 0.5)[..., None]
    corner = 1.04 - 0.22 * (((_COLUMNS - 64) / 90) ** 2 + ((_ROWS - 58) / 90) ** 2)
    return _flat(back * corner[..., None], lit, alpha, rng)


def _watercolour(back, front, alpha, rng):
    """Pigment gathers at the edges of each wash and pales in its middle; paper shows through."""
    soft = _blur(alpha[..., 0] * 255, 3)[..., None] / 255
    rim = np.clip(alpha - soft, 0, 1)
    wash = _cloud(rng, 7)[..., None] + 0.4 * _cloud(rng, 24)[..., None]
    grain = _blur(rng.integers(0, 256, _ROWS.shape), 0.6)[..., None] / 255 - 0.5
    blurred = np.stack([_blur(back[..., k], 1.3) for k in range(3)], axis=-1)
    paper = np.array(PAPER, np.float32)
    bright = 0.3 + 0.7 * blurred.mean(axis=-1, keepdims=True) / 255  # dark washes stay dark
    ground = blurred + (paper - blurred) * np.clip(0.20 + 0.34 * wash, 0, 0.7) * bright
    figures = front * (1 - 0.55 * rim) + (paper - front) * np.clip(0.12 + 0.30 * wash - 0.3 * rim, 0, 0.6)
    return _flat(ground, figures, alpha * 0.96, rng) * (1 + 0.12 * grain)


def _chalk(back, front, alpha, rng):
    """Dusty colour on a blackboard: the background is hardly there, the figures have holes of board in them."""
    board = np.array(BOARD, np.float32) * (1 + 0.35 * _cloud(rng, 5)[..., None])
    dust = rng.random(_ROWS.shape, np.float32)
    dust = ((dust + np.roll(dust, (1, -1), (0, 1)) + np.roll(dust, (2, -2), (0, 1))) / 3)[..., None]
    ground = board + np.clip(back - 40, 0, 255) * (0.08 + 0.24 * dust ** 2)
    return _flat(ground, front, alpha * np.clip(0.45 + 1.3 * dust, 0, 1), rng)


def _sketch(back, front, alpha, rng):
    """Pencil hatching, denser where it is darker, over a hint of colour on paper."""
    colour = _flat(back * 0.5 + 124, front, alpha, rng)
    darkness = 1 - colour.mean(axis=-1) / 255
    bend = 3 * _cloud(rng, 6)
    first = 0.5 + 0.5 * np.sin((_COLUMNS + _ROWS) * 1.6 + bend)
    second = 0.5 + 0.5 * np.sin((_COLUMNS - 0.8 * _ROWS) * 1.75 + bend)
    hatch = np.clip(2.3 * darkness - 0.2 - 1.2 * first, 0, 1) * 0.5 + np.clip(2.6 * darkness - 0.8 - second, 0, 1) * 0.4
    ink = np.maximum(hatch, np.clip(5 * (darkness - 0.58), 0, 1)) * (0.75 + 0.25 * rng.random(_ROWS.shape))
    paper = np.array(PAPER, np.float32)
    tinted = paper + (colour - paper) * (0.5 + 0.2 * alpha)
    return tinted + (np.array(GRAPHITE, np.float32) - tinted) * ink[..., None]


def _mosaic(back, front, alpha, rng):
    """Square tiles of 3 pixels with grout between them."""
    whole = np.clip(_flat(back, front, alpha, rng), 0, 255).astype(np.uint8)
    number = -(-IMAGE_SIZE // 3)
    tiles = np.asarray(Image.fromarray(whole).resize((number, number), Image.Resampling.LANCZOS), np.float32)
    tiles = 128 + 1.2 * (tiles - 128) + rng.normal(0, 9, (number, number, 1)).astype(np.float32)
    picture = tiles.repeat(3, axis=0).repeat(3, axis=1)[:IMAGE_SIZE, :IMAGE_SIZE].copy()
    grout = (_ROWS % 3 == 2) | (_COLUMNS % 3 == 2)
    picture[grout] = 0.72 * picture[grout] + 0.28 * np.array((70, 66, 74), np.float32)
    return picture


def _blur(plane: np.ndarray, radius: float) -> np.ndarray:
    """Gaussian blur of one plane (H, W) in 0..255."""
    image = Image.fromarray(np.clip(plane, 0, 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float32)


def _cloud(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Smooth noise (H, W) in about -0.5..0.5 with `cells` bumps along each side."""
    coarse = Image.fromarray(rng.random((cells, cells), np.float32))
    return np.asarray(coarse.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC), np.float32) - 0.5


def _chalk_fill(colour: Colour) -> Colour:
    return mix(light(colour, 0.2), BOARD, 0.18)


MANNERS = {
    "flat": Manner(_flat),
    "outline": Manner(_flat, contour=1.1, line=partial(dark, share=0.82)),
    "shaded": Manner(_shaded),
    "watercolour": Manner(_watercolour, wobble=0.7),
    "chalk": Manner(_chalk, contour=1.0, line=partial(light, share=0.7), fill=_chalk_fill, wobble=0.3, thin=0.4,
                    air=(74, 96, 94)),
    "sketch": Manner(_sketch, contour=0.85, line=partial(mix, second=GRAPHITE, share=0.95), wobble=0.5, thin=0.8,
                     air=(212, 210, 206)),
    "mosaic": Manner(_mosaic),
}
