"""The twenty things of SoundWorld as picture-book figures.

Every figure lives in its own unit box: x from -0.5 to 0.5 (it looks to the right), y from 0 (ground) up to 1.
It is only a list of shapes; `drawing` decides where they go and in which style. What sounds in single events has a
gesture that shows them: a mouth opens, a clapper strikes, a hoof lands. Rain, waterfall and car have none.
"""

from typing import NamedTuple

import numpy as np

Colour = tuple[float, float, float]  # red, green, blue in 0..255
Point = tuple[float, float]

INK = (46, 40, 52)
WHITE = (252, 250, 244)
CREAM = (250, 234, 206)
ROSE = (240, 160, 160)
RED = (222, 66, 60)
ORANGE = (245, 160, 48)
GOLD = (238, 190, 70)
WOOD = (150, 100, 62)
STEEL = (176, 186, 198)
GLASS = (190, 226, 240)
GREY = (96, 98, 108)
SKIN = (236, 186, 148)
THROAT = (132, 44, 58)  # what an open mouth shows

_SLATE, _SKY, _TEAL, _LEAF, _LIME = (92, 108, 138), (92, 158, 214), (58, 160, 158), (92, 168, 88), (158, 198, 76)
_PLUM, _BERRY, _CORAL, _HONEY, _RUST = (146, 100, 172), (214, 76, 112), (240, 122, 98), (240, 184, 82), (190, 98, 56)
_BROWN, _TAN, _CHALK, _ASH, _COAL = (128, 84, 58), (206, 164, 116), (242, 236, 226), (160, 160, 168), (66, 62, 74)

PALETTES: dict[str, tuple[Colour, ...]] = {
    "bird": (_SKY, _CORAL, _HONEY, _LEAF, _BERRY, _PLUM, _BROWN),
    "cat": (_ASH, (232, 146, 70), _COAL, _CHALK, _TAN, _PLUM, _SLATE),
    "cow": (_CHALK, (232, 206, 178), (188, 122, 82), (216, 214, 222), (236, 196, 190)),
    "cricket": (_LEAF, _LIME, _BROWN, _TEAL, (118, 142, 60), _HONEY),
    "dog": (_TAN, _BROWN, _ASH, _CHALK, _RUST, _SLATE, _HONEY),
    "duck": ((250, 212, 74), _CHALK, _BROWN, _TEAL, _ASH, (244, 170, 160)),
    "frog": (_LEAF, _LIME, _TEAL, (112, 142, 70), _SKY, _CORAL),
    "horse": (_BROWN, _RUST, _TAN, _COAL, _CHALK, _ASH, (120, 120, 168)),
    "sheep": (_CHALK, CREAM, (214, 210, 214), (244, 208, 214), (200, 216, 236), (168, 140, 120)),
    "car": (RED, _SKY, _HONEY, _TEAL, _PLUM, _LEAF, _CORAL, _ASH),
    "police": ((44, 62, 120), (40, 42, 54), (40, 110, 190), (34, 112, 92), (84, 92, 112)),
    "train": ((54, 92, 80), RED, (52, 84, 150), _COAL, _PLUM, (186, 128, 50)),
    "bells": (GOLD, (206, 140, 80), STEEL, (244, 206, 120), (220, 132, 110), (140, 190, 170)),
    "drums": (RED, _SKY, _TEAL, _PLUM, _HONEY, _LEAF, _COAL),
    "flute": (STEEL, GOLD, _BROWN, (214, 190, 150), (120, 150, 196), (224, 150, 150)),
    "guitar": ((222, 148, 70), RED, _BROWN, _SKY, _TEAL, _HONEY, _PLUM),
    "piano": ((60, 54, 66), _BROWN, _RUST, _CHALK, (52, 92, 112), (150, 70, 80)),
    "trumpet": (GOLD, (222, 150, 70), STEEL, (236, 206, 110), _CORAL, _SKY),
    "rain": ((118, 128, 156), (92, 100, 132), (148, 154, 176), (112, 106, 152), (92, 122, 146)),
    "waterfall": ((132, 124, 120), (150, 112, 84), (104, 112, 132), (168, 140, 104), (120, 132, 104)),
}


class Gesture(NamedTuple):
    """How far a figure is in the movement that makes its sound."""

    strength: float  # 0 at rest, 1 at the moment the sound begins
    turn: int = 0  # number of the event: which of its valves, keys, legs or sticks
    played: bool = True  # the hands and sticks of who plays an instrument are seen


STILL = Gesture(0.0, 0, False)


class Shape(NamedTuple):
    """One filled polygon (width 0) or one round-ended line in the unit box."""

    points: np.ndarray  # (N, 2)
    colour: Colour
    width: float
    bare: bool  # a gleam or a shade: it never gets a contour of its own


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Colour `share` (0..1) of the way from the first to the second."""
    return tuple(a + (b - a) * share for a, b in zip(first, second))


def light(colour: Colour, share: float = 0.35) -> Colour:
    """Lighter version of a colour."""
    return mix(colour, (255, 252, 240), share)


def dark(colour: Colour, share: float = 0.25) -> Colour:
    """Darker, slightly cooler version of a colour."""
    return mix(colour, (34, 28, 54), share)


def smooth(points, closed: bool = True, steps: int = 6) -> np.ndarray:
    """Catmull-Rom curve through (N, 2) points: (N * steps, 2) points when closed, else ((N - 1) * steps + 1, 2)."""
    p = np.asarray(points, float)
    padded = np.vstack([p[-1:], p, p[:2]]) if closed else np.vstack([p[:1], p, p[-1:]])
    a, b, c, d = (padded[k:len(padded) - 3 + k, None] for k in range(4))
    t = np.arange(steps)[:, None] / steps
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    curve = curve.reshape(-1, 2)
    return curve if closed else np.vstack([curve, p[-1:]])


def turned(points, centre: Point, degrees: float) -> np.ndarray:
    """Points (N, 2) turned around a point, anticlockwise."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (np.asarray(points, float) - centre) @ np.array([[c, s], [-s, c]]) + centre


_ANGLES = np.arange(28) * (2 * np.pi / 28)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)


class Pen:
    """Collects the shapes of a figure in drawing order."""

    def __init__(self):
        self.shapes: list[Shape] = []

    def poly(self, points, colour: Colour, bare: bool = False):
        self.shapes.append(Shape(np.asarray(points, float), colour, 0.0, bare))

    def blob(self, points, colour: Colour, bare: bool = False):
        self.poly(smooth(points), colour, bare)

    def oval(self, x: float, y: float, rx: float, ry: float, colour: Colour, turn: float = 0.0, bare: bool = False):
        c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
        self.poly(_CIRCLE * (rx, ry) @ np.array([[c, s], [-s, c]]) + (x, y), colour, bare)

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour):
        self.poly([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)

    def line(self, points, width: float, colour: Colour, bare: bool = False):
        self.shapes.append(Shape(np.asarray(points, float), colour, width, bare))

    def curve(self, points, width: float, colour: Colour, bare: bool = False):
        self.line(smooth(points, closed=False), width, colour, bare)

    def turn(self, first: int, centre: Point, degrees: float):
        """Turn the shapes from number `first` on around a point, anticlockwise."""
        if degrees:
            self.shapes[first:] = [shape._replace(points=turned(shape.points, centre, degrees))
                                   for shape in self.shapes[first:]]

    def eye(self, x: float, y: float, r: float):
        self.oval(x, y, r, r * 1.15, INK)
        self.oval(x + r * 0.3, y + r * 0.4, r * 0.35, r * 0.35, WHITE)

    def wheel(self, x: float, r: float, hub: Colour = STEEL):
        self.oval(x, r, r, r, INK)
        self.oval(x, r, r * 0.55, r * 0.55, hub)
        self.oval(x, r, r * 0.2, r * 0.2, GREY)


def _bird(pen: Pen, body: Colour, g: Gesture):
    for x in (-0.02, 0.10):
        pen.line([(x, 0.24), (x + 0.02, 0.02), (x + 0.09, 0.02)], 0.028, dark(ORANGE, 0.15))
    tail = len(pen.shapes)
    pen.poly([(-0.20, 0.50), (-0.50, 0.66), (-0.47, 0.52), (-0.49, 0.46), (-0.18, 0.30)], dark(body, 0.3))
    pen.turn(tail, (-0.19, 0.40), -16 * g.strength)
    pen.blob([(-0.30, 0.44), (-0.16, 0.24), (0.06, 0.17), (0.25, 0.28), (0.33, 0.48), (0.36, 0.70), (0.29, 0.87),
              (0.14, 0.90), (0.02, 0.79), (-0.08, 0.64)], body)
    pen.blob([(0.02, 0.20), (0.20, 0.25), (0.32, 0.46), (0.33, 0.60), (0.20, 0.58), (0.08, 0.40)], light(body, 0.65))
    wing = len(pen.shapes)
    pen.blob([(0.10, 0.56), (0.10, 0.40), (-0.08, 0.31), (-0.36, 0.34), (-0.16, 0.56), (0.0, 0.64)], dark(body, 0.18))
    pen.curve([(-0.20, 0.38), (-0.04, 0.38), (0.04, 0.46)], 0.02, dark(body, 0.4))
    pen.turn(wing, (0.06, 0.52), -16 * g.strength)
    _beak(pen, [(0.34, 0.77), (0.50, 0.81), (0.35, 0.68)], [(0.35, 0.69), (0.46, 0.63), (0.34, 0.63)], (0.33, 0.69),
          28 * g.strength, ORANGE, dark(ORANGE, 0.15))
    pen.eye(0.23, 0.75, 0.043)


def _beak(pen: Pen, upper, lower, hinge: Point, degrees: float, colour: Colour, below: Colour):
    """Two polygons that open around a hinge, with the throat between them."""
    upper, lower = turned(upper, hinge, degrees), turned(lower, hinge, -degrees)
    if degrees:
        tips = (points[points[:, 0].argmax()] for points in (upper, lower))
        pen.poly([hinge, *((0.3 * np.array(hinge) + 0.7 * tip) for tip in tips)], THROAT)
    pen.poly(upper, colour)
    pen.poly(lower, below)


def _cat(pen: Pen, body: Colour, g: Gesture):
    swing = 0.17 * g.strength
    pen.curve([(-0.14, 0.07), (-0.36, 0.07), (-0.45, 0.24), (-0.36 - 0.5 * swing, 0.38), (-0.43 + swing, 0.52)], 0.085,
              dark(body, 0.12))
    pen.blob([(-0.24, 0.02), (0.20, 0.02), (0.26, 0.20), (0.20, 0.50), (0.02, 0.62), (-0.16, 0.50),
              (-0.28, 0.22)], body)
    for side in (-1, 1):
        pen.poly([(0.02 + side * 0.27, 0.68), (0.02 + side * 0.25, 1.0), (0.02 + side * 0.05, 0.86)], body)
    pen.oval(0.02, 0.70, 0.28, 0.225, body)
    for side in (-1, 1):
        pen.poly([(0.02 + side * 0.23, 0.80), (0.02 + side * 0.22, 0.93), (0.02 + side * 0.12, 0.86)], ROSE)
        pen.oval(0.02 + side * 0.09, 0.04, 0.075, 0.05, light(body, 0.5))
        pen.line([(0.02 + side * 0.02, 0.10), (0.02 + side * 0.02, 0.30)], 0.016, dark(body, 0.4))
    pen.oval(0.02, 0.40, 0.10, 0.12, light(body, 0.5))
    for x in (-0.05, 0.02, 0.09):
        pen.line([(x, 0.84), (x, 0.905)], 0.026, dark(body, 0.4))
    for y in (0.22, 0.31):
        pen.line([(-0.25, y), (-0.14, y + 0.03)], 0.026, dark(body, 0.4))
    pen.oval(0.02, 0.61, 0.12, 0.075, light(body, 0.6))
    for side in (-1, 1):
        squint = 1 - 0.55 * g.strength
        pen.oval(0.02 + side * 0.115, 0.735, 0.055, 0.06 * squint, (196, 222, 96))
        pen.oval(0.02 + side * 0.115, 0.735, 0.022, 0.055 * squint, INK, bare=True)
        for dy in (-0.03, 0.03):
            whisker = [(0.02 + side * 0.10, 0.61 + dy * 0.4), (0.02 + side * 0.40, 0.62 + dy * 1.6)]
            pen.line(whisker, 0.012, dark(body, 0.6))
    pen.poly([(-0.02, 0.665), (0.06, 0.665), (0.02, 0.62)], (226, 110, 120))
    if g.strength:
        _mouth(pen, 0.02, 0.61, 0.085, 0.19 * g.strength)
    else:
        pen.curve([(-0.04, 0.585), (0.0, 0.57), (0.02, 0.61), (0.04, 0.57), (0.08, 0.585)], 0.014, INK)


def _mouth(pen: Pen, x: float, top: float, half: float, height: float):
    """An open mouth that hangs down from its upper lip, with a tongue in it."""
    half *= min(1.0, 0.5 + 2.5 * height)
    pen.oval(x, top - height / 2, half, height / 2, THROAT)
    pen.oval(x, top - 0.72 * height, 0.66 * half, 0.24 * height, (246, 150, 156), bare=True)


def _legs(pen: Pen, places, top: float, width: float, colour: Colour, hoof: Colour):
    for x in places:
        pen.line([(x, top), (x, width * 0.6)], width, colour)
    for x in places:
        pen.box(x - width * 0.56, 0.0, x + width * 0.56, width * 0.8, hoof)


def _cow(pen: Pen, body: Colour, g: Gesture):
    spot = dark(body, 0.72)
    pen.curve([(-0.40, 0.62), (-0.47, 0.50), (-0.455, 0.30)], 0.026, dark(body, 0.2))
    pen.oval(-0.455, 0.27, 0.035, 0.06, spot)
    _legs(pen, (-0.22, 0.16), 0.35, 0.085, dark(body, 0.2), INK)
    pen.oval(-0.16, 0.25, 0.10, 0.075, ROSE)
    pen.line([(-0.19, 0.20), (-0.19, 0.17)], 0.025, ROSE)
    pen.line([(-0.13, 0.20), (-0.13, 0.17)], 0.025, ROSE)
    _legs(pen, (-0.34, 0.06), 0.35, 0.085, body, INK)
    pen.blob([(-0.43, 0.55), (-0.41, 0.32), (-0.22, 0.28), (0.06, 0.27), (0.19, 0.33), (0.24, 0.48), (0.22, 0.64),
              (0.0, 0.66), (-0.2, 0.65), (-0.37, 0.67)], body)
    pen.blob([(-0.40, 0.64), (-0.36, 0.44), (-0.24, 0.46), (-0.18, 0.64), (-0.29, 0.662)], spot)
    pen.blob([(-0.06, 0.50), (-0.02, 0.36), (0.09, 0.40), (0.12, 0.56), (0.03, 0.61)], spot)
    head = len(pen.shapes)
    pen.curve([(0.22, 0.79), (0.17, 0.86), (0.20, 0.94)], 0.036, CREAM)
    pen.curve([(0.34, 0.79), (0.40, 0.85), (0.38, 0.94)], 0.036, CREAM)
    pen.oval(0.12, 0.755, 0.085, 0.045, spot, -15)
    pen.oval(0.43, 0.755, 0.06, 0.04, body, 20)
    pen.blob([(0.17, 0.76), (0.18, 0.60), (0.24, 0.44), (0.40, 0.44), (0.42, 0.60), (0.40, 0.77), (0.28, 0.81)], body)
    pen.blob([(0.17, 0.76), (0.19, 0.62), (0.26, 0.62), (0.28, 0.80)], spot)
    if g.strength:
        pen.oval(0.335, 0.45 - 0.09 * g.strength, 0.11, 0.06, dark(ROSE, 0.12))
        pen.oval(0.335, 0.44 - 0.04 * g.strength, 0.095, 0.055, THROAT)
    pen.oval(0.335, 0.475, 0.125, 0.085, ROSE)
    for x in (0.29, 0.39):
        pen.oval(x, 0.49, 0.02, 0.026, dark(ROSE, 0.5))
    for x in (0.235, 0.36):
        pen.oval(x, 0.68, 0.042, 0.046, WHITE)
        pen.eye(x + 0.005, 0.675, 0.026)
    pen.turn(head, (0.20, 0.60), 11 * g.strength)


def _cricket(pen: Pen, body: Colour, g: Gesture):
    shade = dark(body, 0.35)
    feelers = len(pen.shapes)
    pen.curve([(0.36, 0.52), (0.40, 0.72), (0.30, 0.92), (0.16, 0.98)], 0.018, shade)
    pen.curve([(0.39, 0.50), (0.46, 0.68), (0.44, 0.86), (0.36, 0.98)], 0.018, shade)
    pen.turn(feelers, (0.37, 0.50), -10 * g.strength)
    for hip, foot in ((0.26, 0.40), (0.14, 0.20), (0.04, -0.02)):
        pen.line([(hip, 0.30), ((hip + foot) / 2 + 0.03, 0.22), (foot, 0.01)], 0.032, shade)
    pen.line([(-0.36, 0.34), (-0.50, 0.42)], 0.016, shade)
    pen.blob([(-0.42, 0.32), (-0.24, 0.22), (0.05, 0.22), (0.24, 0.28), (0.26, 0.44), (0.1, 0.47), (-0.2, 0.40)], body)
    for x in (-0.28, -0.18, -0.08):
        pen.curve([(x, 0.24), (x - 0.03, 0.30), (x - 0.02, 0.36)], 0.02, shade)
    wing = len(pen.shapes)
    pen.blob([(-0.46, 0.40), (-0.20, 0.32), (0.12, 0.36), (0.20, 0.46), (0.06, 0.52), (-0.2, 0.48)], light(body, 0.4))
    pen.curve([(-0.40, 0.40), (-0.16, 0.41), (0.10, 0.46)], 0.014, dark(body, 0.1))
    pen.turn(wing, (0.16, 0.43), -26 * g.strength)
    pen.blob([(0.16, 0.28), (0.28, 0.28), (0.28, 0.50), (0.18, 0.51), (0.13, 0.40)], dark(body, 0.15))
    pen.blob([(0.25, 0.46), (0.26, 0.30), (0.36, 0.24), (0.45, 0.34), (0.44, 0.50), (0.34, 0.56)], body)
    pen.eye(0.37, 0.45, 0.045)
    pen.curve([(0.44, 0.34), (0.40, 0.32), (0.36, 0.33)], 0.014, INK)
    leg = len(pen.shapes)
    pen.poly([(0.02, 0.28), (0.06, 0.38), (-0.26, 0.84), (-0.32, 0.80), (-0.12, 0.44)], dark(body, 0.2))
    pen.line([(-0.29, 0.81), (-0.40, 0.02), (-0.30, 0.02)], 0.035, shade)
    pen.turn(leg, (0.04, 0.32), -15 * g.strength)


def _dog(pen: Pen, body: Colour, g: Gesture):
    ear = dark(body, 0.5)
    tail = len(pen.shapes)
    pen.curve([(-0.34, 0.50), (-0.44, 0.60), (-0.46, 0.76), (-0.40, 0.86)], 0.06, body)
    pen.turn(tail, (-0.34, 0.50), -24 * g.strength)
    _legs(pen, (-0.22, 0.16), 0.36, 0.085, dark(body, 0.22), dark(body, 0.22))
    _legs(pen, (-0.32, 0.06), 0.36, 0.09, body, light(body, 0.5))
    pen.blob([(-0.39, 0.50), (-0.36, 0.32), (-0.2, 0.27), (0.02, 0.26), (0.17, 0.30), (0.24, 0.46), (0.22, 0.62),
              (0.06, 0.59), (-0.2, 0.56), (-0.32, 0.58)], body)
    pen.blob([(0.06, 0.56), (0.12, 0.40), (0.24, 0.42), (0.32, 0.62), (0.28, 0.76), (0.12, 0.74)], body)
    pen.blob([(-0.24, 0.555), (-0.22, 0.42), (-0.06, 0.42), (-0.02, 0.57), (-0.12, 0.573)], ear)
    pen.line([(0.08, 0.60), (0.18, 0.52), (0.27, 0.53)], 0.055, RED)
    pen.oval(0.21, 0.475, 0.032, 0.032, GOLD)
    head = len(pen.shapes)
    if g.strength:
        jaw = turned([(0.22, 0.66), (0.30, 0.56), (0.42, 0.55), (0.46, 0.59), (0.38, 0.64)], (0.24, 0.63),
                     -34 * g.strength)
        pen.blob(jaw, light(body, 0.55))
        pen.poly([(0.24, 0.64), (0.45, 0.64), jaw[3], jaw[4]], THROAT)
        pen.oval(*(0.5 * (jaw[2] + jaw[3])), 0.05, 0.034, (238, 110, 120), -40)
    else:
        pen.oval(0.385, 0.565, 0.035, 0.065, (238, 110, 120))
    pen.blob([(0.06, 0.78), (0.08, 0.64), (0.20, 0.58), (0.38, 0.58), (0.49, 0.64), (0.48, 0.73), (0.36, 0.77),
              (0.31, 0.90), (0.20, 0.94), (0.10, 0.90)], body)
    pen.blob([(0.30, 0.60), (0.40, 0.575), (0.49, 0.64), (0.48, 0.73), (0.38, 0.755), (0.31, 0.69)], light(body, 0.55))
    pen.oval(0.475, 0.735, 0.045, 0.038, INK)
    pen.curve([(0.30, 0.63), (0.37, 0.615), (0.45, 0.645)], 0.016, INK)
    pen.eye(0.285, 0.80, 0.034)
    pen.blob([(0.12, 0.92), (0.20, 0.86), (0.18, 0.66), (0.09, 0.55), (0.01, 0.60), (0.02, 0.78)], ear)
    pen.turn(head, (0.16, 0.64), 15 * g.strength)


def _duck(pen: Pen, body: Colour, g: Gesture):
    for x in (-0.08, 0.08):
        pen.line([(x, 0.22), (x, 0.04)], 0.035, dark(ORANGE, 0.12))
        pen.poly([(x - 0.04, 0.0), (x + 0.13, 0.0), (x + 0.02, 0.08)], dark(ORANGE, 0.12))
    pen.blob([(-0.50, 0.56), (-0.42, 0.34), (-0.24, 0.18), (0.04, 0.15), (0.22, 0.24), (0.28, 0.42), (0.14, 0.50),
              (-0.14, 0.46), (-0.34, 0.48), (-0.44, 0.60)], body)
    pen.blob([(0.0, 0.44), (0.12, 0.36), (0.26, 0.38), (0.28, 0.54), (0.30, 0.70), (0.12, 0.72), (0.09, 0.56)], body)
    pen.oval(0.19, 0.80, 0.16, 0.15, dark(body, 0.12))
    pen.line([(0.10, 0.60), (0.19, 0.57), (0.28, 0.60)], 0.045, WHITE)
    wing = len(pen.shapes)
    pen.blob([(0.06, 0.42), (0.02, 0.28), (-0.14, 0.23), (-0.34, 0.36), (-0.26, 0.42), (-0.10, 0.46)], dark(body, 0.2))
    pen.curve([(-0.26, 0.37), (-0.14, 0.31), (-0.04, 0.32)], 0.02, dark(body, 0.4))
    pen.turn(wing, (0.05, 0.36), -20 * g.strength)
    if g.strength:
        _beak(pen, smooth([(0.31, 0.86), (0.40, 0.82), (0.50, 0.805), (0.50, 0.77), (0.40, 0.765), (0.31, 0.77)]),
              smooth([(0.31, 0.78), (0.40, 0.765), (0.49, 0.765), (0.48, 0.735), (0.40, 0.71), (0.31, 0.73)]),
              (0.31, 0.78), 26 * g.strength, ORANGE, dark(ORANGE, 0.12))
    else:
        pen.blob([(0.31, 0.85), (0.40, 0.81), (0.50, 0.80), (0.50, 0.745), (0.40, 0.71), (0.31, 0.73)], ORANGE)
        pen.curve([(0.34, 0.765), (0.42, 0.755), (0.49, 0.77)], 0.016, dark(ORANGE, 0.45))
    pen.eye(0.24, 0.85, 0.036)


def _frog(pen: Pen, body: Colour, g: Gesture):
    for side in (-1, 1):
        pen.blob([(side * x, y) for x, y in ((0.22, 0.10), (0.34, 0.05), (0.48, 0.20), (0.46, 0.40), (0.30, 0.42),
                                            (0.20, 0.28))], dark(body, 0.15))
        for toe in (0.28, 0.38, 0.48):
            pen.line([(side * 0.30, 0.09), (side * toe, 0.025)], 0.045, dark(body, 0.15))
    pen.blob([(-0.28, 0.10), (0.0, 0.04), (0.28, 0.10), (0.33, 0.34), (0.24, 0.56), (-0.24, 0.56), (-0.33, 0.34)], body)
    pen.blob([(-0.20, 0.12), (0.0, 0.06), (0.20, 0.12), (0.22, 0.34), (0.0, 0.46), (-0.22, 0.34)], light(body, 0.62))
    for side in (-1, 1):
        pen.line([(side * 0.20, 0.36), (side * 0.16, 0.06)], 0.09, dark(body, 0.05))
        for toe in (0.08, 0.16, 0.24):
            pen.line([(side * 0.16, 0.06), (side * toe, 0.02)], 0.036, dark(body, 0.05))
    pen.oval(-0.22, 0.78, 0.13, 0.13, body)
    pen.oval(0.22, 0.78, 0.13, 0.13, body)
    pen.blob([(-0.40, 0.58), (-0.30, 0.46), (0.0, 0.42), (0.30, 0.46), (0.40, 0.58), (0.30, 0.74), (0.0, 0.76),
              (-0.30, 0.74)], body)
    for side in (-1, 1):
        pen.oval(side * 0.22, 0.80, 0.09, 0.09, WHITE)
        pen.oval(side * 0.22 + 0.015, 0.80, 0.045, 0.055, INK)
        pen.oval(side * 0.03, 0.665, 0.012, 0.012, dark(body, 0.5))
        pen.oval(side * 0.31, 0.60, 0.045, 0.03, mix(body, ROSE, 0.7))
    pen.curve([(-0.33, 0.57), (-0.18, 0.51), (0.0, 0.49), (0.18, 0.51), (0.33, 0.57)], 0.024, dark(body, 0.65))
    if g.strength:  # the vocal sac
        rx, ry = 0.30 * g.strength, 0.21 * g.strength
        pen.oval(0.0, 0.485 - ry, rx, ry, dark(body, 0.35))
        pen.oval(0.0, 0.485 - ry, 0.93 * rx, 0.92 * ry, light(body, 0.5), bare=True)
        pen.oval(-0.35 * rx, 0.485 - 0.55 * ry, 0.28 * rx, 0.24 * ry, light(body, 0.85), 20, bare=True)


def _horse(pen: Pen, body: Colour, g: Gesture):
    mane = light(body, 0.55) if sum(body) < 300 else dark(body, 0.55)
    pen.curve([(-0.34, 0.56), (-0.44, 0.50), (-0.45, 0.32), (-0.48, 0.14)], 0.085, mane)
    # two legs across step up together, and land when the gesture is over
    one, other = (g.strength, 0.0) if g.turn % 2 else (0.0, g.strength)
    for x, knee, up in ((-0.22, -0.18, one), (0.17, 0.24, other)):
        leg = [(x, 0.42), (knee + 0.07 * up, 0.22 + 0.09 * up), (x + 0.02 + 0.02 * up, 0.04 + 0.17 * up)]
        pen.line(leg, 0.062, dark(body, 0.25))
    pen.line([(-0.31, 0.46), (-0.31, 0.40)], 0.13, body)
    for x, knee, up in ((-0.32, -0.35, other), (0.08, 0.10, one)):
        pen.line([(x, 0.44), (knee + 0.10 * up, 0.24 + 0.09 * up), (x + 0.02 * up, 0.04 + 0.17 * up)], 0.066, body)
    for x, up in ((-0.32, other), (0.08, one), (-0.20, one), (0.19, other)):
        pen.poly([(x - 0.04 + 0.02 * up, 0.17 * up), (x + 0.055 + 0.02 * up, 0.17 * up),
                  (x + 0.035 + 0.02 * up, 0.07 + 0.17 * up), (x - 0.035 + 0.02 * up, 0.07 + 0.17 * up)], INK)
    pen.blob([(-0.40, 0.54), (-0.37, 0.40), (-0.2, 0.36), (0.0, 0.34), (0.17, 0.38), (0.22, 0.52), (0.12, 0.62),
              (-0.1, 0.58), (-0.3, 0.62)], body)
    head = len(pen.shapes)
    pen.blob([(-0.02, 0.58), (0.10, 0.44), (0.21, 0.48), (0.28, 0.66), (0.32, 0.82), (0.20, 0.90), (0.10, 0.76)], body)
    pen.poly([(0.17, 0.86), (0.20, 1.0), (0.26, 0.90)], body)
    pen.blob([(0.15, 0.88), (0.25, 0.92), (0.36, 0.82), (0.49, 0.68), (0.47, 0.59), (0.39, 0.58), (0.31, 0.68),
              (0.20, 0.74)], body)
    pen.blob([(0.19, 0.95), (0.12, 0.93), (0.02, 0.80), (-0.05, 0.64), (-0.04, 0.54), (0.03, 0.58), (0.08, 0.72),
              (0.16, 0.82)], mane)
    pen.blob([(0.20, 0.95), (0.27, 0.92), (0.30, 0.84), (0.24, 0.85)], mane)
    pen.oval(0.445, 0.63, 0.05, 0.055, mix(body, ROSE, 0.4))
    pen.oval(0.46, 0.645, 0.012, 0.016, INK)
    pen.eye(0.30, 0.80, 0.028)
    pen.turn(head, (0.08, 0.52), 7 * g.strength)


def _sheep(pen: Pen, body: Colour, g: Gesture):
    face = mix((74, 66, 76), body, 0.08)
    _legs(pen, (-0.18, 0.14), 0.30, 0.07, dark(face, 0.3), INK)
    _legs(pen, (-0.28, 0.05), 0.30, 0.075, face, INK)
    puffs = ((-0.34, 0.52, 0.12), (-0.30, 0.36, 0.12), (-0.15, 0.29, 0.12), (0.02, 0.28, 0.12), (0.16, 0.36, 0.12),
             (0.20, 0.52, 0.12), (-0.24, 0.65, 0.12), (-0.08, 0.69, 0.125), (0.09, 0.66, 0.12), (-0.44, 0.50, 0.055))
    for x, y, r in puffs:
        pen.oval(x, y, r, r, body)
    pen.oval(-0.07, 0.48, 0.27, 0.20, body)
    for x, y in ((-0.24, 0.50), (-0.08, 0.56), (-0.14, 0.38), (0.04, 0.42)):
        pen.curve([(x - 0.05, y + 0.01), (x - 0.03, y - 0.03), (x + 0.02, y - 0.03), (x + 0.05, y + 0.01)], 0.018,
                  dark(body, 0.18))
    head = len(pen.shapes)
    pen.oval(0.155, 0.635, 0.085, 0.038, dark(face, 0.2), 25)
    pen.oval(0.46, 0.655, 0.05, 0.034, dark(face, 0.2), -30)
    pen.blob([(0.20, 0.70), (0.21, 0.54), (0.29, 0.41), (0.40, 0.42), (0.44, 0.54), (0.42, 0.70), (0.31, 0.76)], face)
    for x, y in ((0.22, 0.76), (0.31, 0.80), (0.40, 0.76)):
        pen.oval(x, y, 0.075, 0.065, body)
    for x in (0.265, 0.37):
        pen.oval(x, 0.62, 0.034, 0.036, WHITE)
        pen.oval(x + 0.008, 0.615, 0.018, 0.022, INK)
    if g.strength:
        pen.oval(0.335, 0.44 - 0.06 * g.strength, 0.085, 0.055, face)
        _mouth(pen, 0.335, 0.475, 0.065, 0.13 * g.strength)
    pen.oval(0.335, 0.475, 0.05, 0.03, ROSE)
    pen.turn(head, (0.22, 0.62), 16 * g.strength)


def _car(pen: Pen, body: Colour, g: Gesture):
    pen.blob([(-0.36, 0.30), (-0.28, 0.56), (-0.14, 0.67), (0.08, 0.67), (0.22, 0.54), (0.32, 0.32)], body)
    pen.blob([(-0.49, 0.16), (-0.49, 0.32), (-0.40, 0.40), (-0.1, 0.40), (0.24, 0.40), (0.44, 0.35), (0.50, 0.24),
              (0.49, 0.14), (0.2, 0.12), (-0.2, 0.12), (-0.44, 0.12)], body)
    pen.poly(smooth([(-0.27, 0.41), (-0.23, 0.53), (-0.13, 0.61), (-0.04, 0.61), (-0.04, 0.41)]), GLASS)
    pen.poly(smooth([(0.02, 0.41), (0.02, 0.61), (0.08, 0.60), (0.18, 0.51), (0.23, 0.41)]), GLASS)
    pen.line([(-0.19, 0.45), (-0.12, 0.56)], 0.025, WHITE, bare=True)
    pen.line([(0.06, 0.45), (0.12, 0.54)], 0.025, WHITE, bare=True)
    pen.line([(-0.01, 0.38), (-0.01, 0.18)], 0.014, dark(body, 0.35))
    pen.line([(0.04, 0.33), (0.10, 0.33)], 0.026, dark(body, 0.5))
    pen.line([(-0.45, 0.15), (0.47, 0.15)], 0.045, dark(body, 0.35))
    pen.oval(0.45, 0.28, 0.036, 0.05, (255, 236, 150))
    pen.oval(-0.47, 0.29, 0.022, 0.045, RED)
    for x in (-0.28, 0.28):
        pen.oval(x, 0.15, 0.155, 0.16, dark(body, 0.35))
        pen.wheel(x, 0.13)


def _police(pen: Pen, body: Colour, g: Gesture):
    for x, y in ((-0.20, 0.80), (-0.12, 0.92), (0.0, 0.97), (0.12, 0.92), (0.20, 0.80)):
        lit = g.strength if (x < 0) == bool(g.turn % 2) and x else -g.strength  # one lamp flares, the other dims
        ray = [(x * 0.7, 0.28 + 0.62 * y), (x * (1 + 0.35 * lit), y + 0.06 * lit)]
        pen.line(ray, 0.03 * (1 + 0.9 * lit), (250, 92, 90) if x < 0 else (92, 150, 255))
    pen.poly([(-0.36, 0.36), (-0.22, 0.62), (0.12, 0.62), (0.28, 0.36)], body)
    pen.box(-0.16, 0.61, 0.08, 0.65, GREY)
    red, blue = (g.strength, -g.strength) if g.turn % 2 else (-g.strength, g.strength)
    for left, colour, lit in ((-0.16, (240, 50, 60), red), (-0.04, (50, 110, 250), blue)):
        flare = light(colour, 0.6 * lit) if lit > 0 else dark(colour, -0.7 * lit)
        pen.box(left, 0.64, left + 0.12, 0.74 + 0.05 * max(lit, 0), flare if lit else colour)
    pen.poly([(-0.50, 0.12), (-0.50, 0.36), (-0.44, 0.40), (0.28, 0.40), (0.46, 0.34), (0.50, 0.26),
              (0.50, 0.12)], body)
    pen.box(-0.20, 0.12, 0.18, 0.40, WHITE)
    pen.poly([(-0.29, 0.41), (-0.19, 0.57), (-0.07, 0.57), (-0.07, 0.41)], GLASS)
    pen.poly([(-0.02, 0.41), (-0.02, 0.57), (0.09, 0.57), (0.21, 0.41)], GLASS)
    pen.line([(-0.045, 0.38), (-0.045, 0.14)], 0.014, STEEL)
    pen.poly([(x * 0.085 + 0.06, y * 0.085 + 0.27) for x, y in _STAR], GOLD)
    pen.box(-0.20, 0.16, -0.05, 0.21, body)
    pen.line([(-0.48, 0.13), (0.48, 0.13)], 0.04, GREY)
    pen.oval(0.455, 0.27, 0.032, 0.04, (255, 236, 150))
    pen.box(-0.50, 0.26, -0.46, 0.34, RED)
    for x in (-0.31, 0.31):
        pen.oval(x, 0.14, 0.145, 0.15, dark(body, 0.6))
        pen.wheel(x, 0.12)


_STAR = [(np.sin(k * np.pi / 5) * r, np.cos(k * np.pi / 5) * r) for k, r in zip(range(10), (1.0, 0.45) * 5)]


def _train(pen: Pen, body: Colour, g: Gesture):
    for x, y, r in ((0.26, 0.84, 0.055), (0.17, 0.89, 0.075), (0.04, 0.92, 0.085), (-0.11, 0.93, 0.07)):
        pen.oval(x - 0.05 * g.strength, y + 0.03 * g.strength, r * 1.15, r, (226, 226, 232))
    if g.strength:
        pen.oval(0.29, 0.80 + 0.05 * g.strength, 0.11 * g.strength, 0.095 * g.strength, (238, 238, 242))
    pen.line([(-0.50, 0.02), (0.50, 0.02)], 0.03, GREY)
    pen.box(-0.46, 0.16, 0.40, 0.26, dark(body, 0.5))
    pen.poly([(0.38, 0.26), (0.50, 0.05), (0.36, 0.05)], RED)
    pen.poly([(0.24, 0.55), (0.22, 0.76), (0.36, 0.76), (0.34, 0.55)], dark(body, 0.45))
    pen.box(0.20, 0.74, 0.38, 0.79, GOLD)
    pen.oval(0.06, 0.60, 0.065, 0.09, GOLD)
    pen.box(-0.16, 0.26, 0.36, 0.59, body)
    pen.oval(0.36, 0.425, 0.075, 0.165, dark(body, 0.35))
    pen.oval(0.42, 0.50, 0.045, 0.05, (255, 236, 150))
    for x in (0.0, 0.17):
        pen.box(x, 0.26, x + 0.03, 0.59, GOLD)
    pen.box(-0.46, 0.24, -0.16, 0.74, body)
    pen.box(-0.40, 0.48, -0.22, 0.67, GLASS)
    pen.poly([(-0.50, 0.73), (-0.49, 0.79), (-0.13, 0.79), (-0.12, 0.73)], RED if body != RED else dark(RED, 0.5))
    pen.line([(-0.42, 0.35), (-0.20, 0.35)], 0.03, GOLD)
    for x, r in ((-0.33, 0.155), (-0.01, 0.155), (0.25, 0.105)):
        pen.wheel(x, r, mix(RED, GOLD, 0.2))
    x, y = 0.075 * np.sin(3 * g.strength), 0.13 + 0.06 * (1 - np.cos(3 * g.strength))  # a crank's half turn
    pen.line([(-0.33 + x, y), (-0.01 + x, y)], 0.035, STEEL)
    if g.strength:
        for dx, dy in ((0.40, 0.10), (0.49, 0.08)):
            pen.oval(dx, dy, 0.085 * g.strength, 0.06 * g.strength, (226, 226, 232))


def _bells(pen: Pen, body: Colour, g: Gesture):
    pen.oval(0.0, 0.93, 0.075, 0.065, dark(body, 0.3))
    pen.oval(0.0, 0.93, 0.035, 0.03, light(body, 0.7))
    side = -1 if g.turn % 2 else 1
    pen.oval(0.03 + 0.27 * side * g.strength, 0.08 + 0.01 * g.strength, 0.085, 0.08, dark(body, 0.45))
    bell = len(pen.shapes)
    pen.blob([(-0.44, 0.15), (-0.34, 0.27), (-0.28, 0.48), (-0.23, 0.72), (-0.10, 0.87), (0.10, 0.87), (0.23, 0.72),
              (0.28, 0.48), (0.34, 0.27), (0.44, 0.15), (0.2, 0.115), (-0.2, 0.115)], body)
    pen.blob([(0.10, 0.84), (0.21, 0.70), (0.27, 0.46), (0.33, 0.27), (0.41, 0.16), (0.22, 0.15), (0.16, 0.40)],
             dark(body, 0.16), bare=True)
    pen.curve([(-0.30, 0.29), (-0.15, 0.26), (0.15, 0.26), (0.30, 0.29)], 0.035, dark(body, 0.35), bare=True)
    pen.curve([(-0.22, 0.66), (-0.08, 0.64), (0.08, 0.64), (0.22, 0.66)], 0.028, dark(body, 0.35), bare=True)
    pen.curve([(-0.15, 0.75), (-0.19, 0.58), (-0.22, 0.38)], 0.045, light(body, 0.75), bare=True)
    for side in (-1, 1):
        pen.blob([(side * x, y) for x, y in ((0.0, 0.90), (0.12, 0.99), (0.25, 0.96), (0.23, 0.83), (0.10, 0.82))], RED)
    pen.oval(0.0, 0.89, 0.05, 0.05, dark(RED, 0.3))
    pen.turn(bell, (0.0, 0.90), -11 * side * g.strength)


def _drum(pen: Pen, x: float, low: float, high: float, r: float, shell: Colour):
    pen.poly([(x - r, low), (x + r, low), (x + r, high), (x - r, high)], shell)
    pen.oval(x, low, r, r * 0.28, shell)
    pen.oval(x, high, r, r * 0.32, STEEL)
    pen.oval(x, high, r * 0.88, r * 0.25, WHITE)


def _drums(pen: Pen, body: Colour, g: Gesture):
    for side in (-1, 1):
        pen.line([(side * 0.40, 0.84), (side * 0.42, 0.02)], 0.022, GREY)
        pen.line([(side * 0.34, 0.02), (side * 0.49, 0.02)], 0.022, GREY)
        pen.oval(side * 0.365, 0.845, 0.135, 0.035, GOLD, side * (12 - 14 * g.strength))
        pen.oval(side * 0.365, 0.86, 0.03, 0.022, dark(GOLD, 0.4))
    for x in (-0.16, 0.16):
        pen.line([(x * 0.6, 0.55), (x, 0.66)], 0.03, GREY)
    _drum(pen, -0.15, 0.60, 0.74, 0.135, body)
    _drum(pen, 0.15, 0.60, 0.74, 0.135, body)
    for x in (-0.45, -0.24, 0.24, 0.45):
        pen.line([(x, 0.22), (x, 0.01)], 0.022, GREY)
    _drum(pen, -0.345, 0.26, 0.42, 0.14, dark(body, 0.12))
    _drum(pen, 0.345, 0.16, 0.44, 0.145, dark(body, 0.12))
    pen.line([(-0.20, 0.10), (-0.27, 0.01)], 0.03, GREY)
    pen.line([(0.20, 0.10), (0.27, 0.01)], 0.03, GREY)
    pen.oval(0.0, 0.29, 0.28, 0.28, body)
    pen.oval(0.0, 0.29, 0.235, 0.235, WHITE)
    pen.oval(0.0, 0.29, 0.125, 0.125, light(body, 0.25))
    star = 0.10 + 0.05 * g.strength
    pen.poly([(x * star, y * star + 0.29) for x, y in _STAR], WHITE)
    if g.played:
        for side in (-1, 1):
            fallen = g.strength if side == (-1 if g.turn % 2 else 1) else 0.0
            hand = np.array([side * 0.37, 0.99])
            stick = turned([(0.0, 0.0), (0.33, 0.0)], (0.0, 0.0), 6 - 42 * fallen) * (-side, 1) + hand
            pen.line(stick, 0.034, CREAM)
            pen.oval(*stick[1], 0.034, 0.034, WOOD)
            pen.oval(*hand, 0.055, 0.05, SKIN)


def _flute(pen: Pen, body: Colour, g: Gesture):
    along, across = np.array([0.877, 0.48]), np.array([-0.48, 0.877])
    start = np.array([-0.44, 0.12])

    def at(u, v):
        return tuple(start + along * u + across * v)

    def tube(u0, u1, half, colour):
        pen.poly([at(u0, -half), at(u1, -half), at(u1, half), at(u0, half)], colour)

    tube(0.0, 1.0, 0.066, body)
    pen.line([at(0.02, 0.01), at(0.98, 0.01)], 0.04, light(body, 0.5), bare=True)
    for u in (0.0, 0.30, 0.68, 0.96):
        tube(u, u + 0.045, 0.084, dark(body, 0.35))
    pen.oval(*at(0.85, 0.03), 0.095, 0.062, dark(body, 0.22), 28.7)
    pen.oval(*at(0.85, 0.035), 0.046, 0.026, INK, 28.7)
    for u in (0.10, 0.20, 0.40, 0.49, 0.58):
        pen.oval(*at(u, 0.02), 0.042, 0.042, dark(body, 0.4))
        pen.oval(*at(u, 0.02), 0.024, 0.024, light(body, 0.6))
    pen.line([at(0.36, -0.07), at(0.64, -0.07)], 0.02, dark(body, 0.4))
    if g.played:
        pen.line([at(0.33, 0.62), at(0.37, 0.48)], 0.13, dark(RED, 0.1))
        pen.line([at(0.34, 0.41), at(0.45, 0.41)], 0.12, SKIN)
        for k, u in enumerate((0.20, 0.40, 0.58)):
            lift = 0.13 + (0.05 if k == g.turn % 3 else -0.13) * g.strength
            pen.line([at(0.39, 0.40), at(u, 0.28 + 0.5 * lift), at(u, 0.11 + lift)], 0.08, SKIN)
            pen.line([at(u - 0.005, 0.13 + lift), at(u, 0.10 + lift)], 0.045, CREAM, bare=True)
    for x, y in ((-0.20, 0.64), (0.24, 0.08)):
        _note(pen, x + 0.03 * g.strength, y + 0.08 * g.strength)


def _note(pen: Pen, x: float, y: float):
    pen.oval(x, y, 0.05, 0.038, INK, 20)
    pen.line([(x + 0.04, y + 0.01), (x + 0.04, y + 0.18)], 0.02, INK)
    pen.curve([(x + 0.04, y + 0.18), (x + 0.08, y + 0.13), (x + 0.11, y + 0.09)], 0.024, INK)


def _guitar(pen: Pen, body: Colour, g: Gesture):
    pen.box(-0.035, 0.50, 0.035, 0.88, dark(WOOD, 0.35))
    pen.poly([(-0.055, 0.86), (-0.07, 1.0), (0.07, 1.0), (0.055, 0.86)], dark(WOOD, 0.15))
    for side in (-1, 1):
        for y in (0.89, 0.925, 0.96):
            pen.oval(side * 0.085, y, 0.022, 0.014, CREAM)
    half = [(0.10, 0.01), (0.24, 0.06), (0.28, 0.19), (0.20, 0.32), (0.19, 0.38), (0.225, 0.47), (0.19, 0.57),
            (0.08, 0.60)]
    rim = half + [(-x, y) for x, y in reversed(half)]
    pen.blob(rim, dark(body, 0.4))
    pen.blob([(x * 0.88, 0.305 + (y - 0.305) * 0.93) for x, y in rim], body)
    pen.box(-0.035, 0.45, 0.035, 0.62, dark(WOOD, 0.35))
    pen.oval(0.0, 0.37, 0.098, 0.098, light(body, 0.55))
    pen.oval(0.0, 0.37, 0.078, 0.078, INK)
    pen.box(-0.11, 0.14, 0.11, 0.18, dark(WOOD, 0.45))
    for x in (-0.02, 0.0, 0.02):
        pen.line([(x, 0.17), (x + 0.03 * g.strength, 0.36), (x - 0.01 * g.strength, 0.55), (x, 0.90)]
                 if g.strength else [(x, 0.17), (x, 0.90)], 0.007, CREAM, bare=True)
    for y in (0.66, 0.73, 0.80):
        pen.line([(-0.03, y), (0.03, y)], 0.012, STEEL)
    if g.played:
        x, y = 0.20 - 0.27 * g.strength, 0.52 - 0.27 * g.strength  # the hand that strums
        pen.line([(0.44, 0.42), (x + 0.09, y + 0.03)], 0.10, dark(RED, 0.1))
        pen.oval(x + 0.03, y, 0.095, 0.07, SKIN, 20)
        pen.poly([(x - 0.07, y + 0.02), (x - 0.03, y - 0.05), (x - 0.10, y - 0.06)], INK)


def _piano(pen: Pen, body: Colour, g: Gesture):
    pen.box(-0.46, 0.02, 0.46, 0.82, body)
    pen.box(-0.50, 0.80, 0.50, 0.87, dark(body, 0.25))
    pen.box(-0.40, 0.56, 0.40, 0.75, light(body, 0.14))
    pen.box(-0.40, 0.08, 0.40, 0.33, light(body, 0.14))
    pen.poly([(-0.17, 0.56), (-0.15, 0.77), (-0.005, 0.75), (0.005, 0.75), (0.15, 0.77), (0.17, 0.56)], WHITE)
    for y in (0.61, 0.66, 0.71):
        pen.line([(-0.12, y), (-0.03, y)], 0.012, GREY)
        pen.line([(0.03, y), (0.12, y)], 0.012, GREY)
    for x in (-0.08, 0.0, 0.08):
        pen.oval(x, 0.055, 0.028, 0.02, GOLD)
    for x in (-0.45, 0.45):
        pen.line([(x, 0.36), (x, 0.03)], 0.06, dark(body, 0.25))
    pen.box(-0.50, 0.33, 0.50, 0.54, dark(body, 0.25))
    pen.box(-0.455, 0.375, 0.455, 0.53, WHITE)
    left, right = -0.455 + 5 * 0.091, -0.455 + 8 * 0.091  # of the three keys that go down
    if g.strength:
        pen.box(left, 0.375 - 0.05 * g.strength, right, 0.53, dark(WHITE, 0.25))
    for k in range(1, 10):
        x = -0.455 + k * 0.091
        pen.line([(x, 0.38), (x, 0.52)], 0.012, GREY)
        if k % 7 not in (3, 0):
            pen.box(x - 0.026, 0.445, x + 0.026, 0.53, INK)
    if g.played:
        x, y = (left + right) / 2, 0.60 - 0.16 * g.strength
        pen.line([(x + 0.02, y + 0.20), (x, y + 0.06)], 0.12, dark(RED, 0.1) if body != RED else INK)
        pen.oval(x, y + 0.02, 0.12, 0.065, SKIN)
        for dx in (-0.085, -0.03, 0.03, 0.085):
            pen.line([(x + dx, y), (x + 1.15 * dx, y - 0.055)], 0.04, SKIN)


def _trumpet(pen: Pen, body: Colour, g: Gesture):
    shade = dark(body, 0.25)
    loop = [(-0.22, 0.38), (0.14, 0.38), (0.23, 0.26), (0.14, 0.12), (-0.22, 0.12), (-0.32, 0.25), (-0.22, 0.38)]
    pen.curve(loop, 0.06, shade)
    if g.played:
        pen.line([(-0.12, 1.06), (-0.08, 0.98)], 0.12, dark(RED, 0.1))
        pen.line([(-0.10, 0.92), (0.02, 0.92)], 0.11, SKIN)
    for k, x in enumerate((-0.13, -0.01, 0.11)):
        down = 0.07 * g.strength if k != g.turn % 3 else 0.0
        pen.line([(x, 0.52 - down), (x, 0.60 - down)], 0.03, STEEL)
        pen.oval(x, 0.62 - down, 0.042, 0.022, STEEL)
        if g.played:
            pen.line([(-0.06, 0.93), (x + 0.02, 0.82 - 0.5 * down), (x, 0.68 - down)], 0.07, SKIN)
    pen.line([(-0.44, 0.38), (0.2, 0.38)], 0.062, body)
    pen.poly([(-0.50, 0.43), (-0.50, 0.33), (-0.42, 0.36), (-0.42, 0.40)], STEEL)
    pen.blob([(0.06, 0.415), (0.24, 0.45), (0.37, 0.54), (0.46, 0.70), (0.50, 0.38), (0.46, 0.06), (0.37, 0.22),
              (0.24, 0.31), (0.06, 0.345)], body)
    pen.oval(0.462, 0.38, 0.045, 0.325, light(body, 0.45))
    pen.oval(0.468, 0.38, 0.025, 0.265, dark(body, 0.45))
    for x in (-0.13, -0.01, 0.11):
        pen.box(x - 0.042, 0.06, x + 0.042, 0.52, body)
        pen.box(x - 0.05, 0.48, x + 0.05, 0.53, shade)
        pen.box(x - 0.05, 0.04, x + 0.05, 0.09, shade)
        pen.line([(x - 0.018, 0.14), (x - 0.018, 0.44)], 0.022, light(body, 0.6), bare=True)
    pen.turn(0, (-0.50, 0.38), 8 * g.strength)


def _rain(pen: Pen, body: Colour, g: Gesture):
    for k, x in enumerate((-0.34, -0.17, 0.0, 0.17, 0.34)):
        for y in (0.40, 0.23, 0.06):
            shift = 0.085 * (k % 2)
            if y + shift < 0.45:
                _drop(pen, x - (0.5 - y) * 0.10, y + shift)
    for x, y, r in ((-0.34, 0.60, 0.14), (-0.16, 0.72, 0.18), (0.10, 0.78, 0.20), (0.32, 0.62, 0.16)):
        pen.oval(x, y, r, r, body)
    pen.blob([(-0.44, 0.50), (0.0, 0.47), (0.44, 0.50), (0.47, 0.60), (0.2, 0.72), (-0.3, 0.70), (-0.48, 0.60)], body)
    for x, y, r in ((-0.16, 0.76, 0.10), (0.08, 0.83, 0.12), (0.30, 0.67, 0.09)):
        pen.oval(x, y, r, r * 0.8, light(body, 0.3), bare=True)


def _drop(pen: Pen, x: float, y: float):
    pen.blob([(x + 0.018, y + 0.12), (x - 0.022, y + 0.03), (x - 0.008, y), (x + 0.022, y + 0.005),
              (x + 0.03, y + 0.04)], (72, 138, 214))


def _waterfall(pen: Pen, body: Colour, g: Gesture):
    water, foam = (96, 178, 226), (238, 248, 252)
    pen.blob([(-0.50, 0.02), (-0.46, 0.40), (-0.42, 0.78), (-0.26, 0.93), (-0.14, 0.88), (0.14, 0.88), (0.28, 0.97),
              (0.42, 0.82), (0.45, 0.44), (0.50, 0.02), (0.2, 0.0), (-0.2, 0.0)], body)
    pen.poly([(-0.45, 0.46), (-0.30, 0.60), (-0.22, 0.40), (-0.32, 0.20), (-0.44, 0.26)], dark(body, 0.22))
    pen.poly([(0.44, 0.56), (0.28, 0.70), (0.22, 0.46), (0.34, 0.30), (0.46, 0.34)], dark(body, 0.22))
    pen.poly([(-0.38, 0.78), (-0.26, 0.84), (-0.22, 0.70), (-0.32, 0.66)], light(body, 0.25))
    pen.poly([(0.27, 0.20), (0.36, 0.26), (0.42, 0.14), (0.32, 0.08)], light(body, 0.25))
    for x, y, r in ((-0.36, 0.86, 0.10), (-0.24, 0.92, 0.08), (0.24, 0.94, 0.07), (0.36, 0.88, 0.10)):
        pen.oval(x, y, r, r * 0.7, (92, 160, 84))
    pen.oval(0.0, 0.06, 0.42, 0.06, water)
    pen.blob([(-0.15, 0.90), (0.0, 0.92), (0.15, 0.90), (0.17, 0.50), (0.21, 0.08), (0.0, 0.05), (-0.21, 0.08),
              (-0.17, 0.50)], water)
    for x, y0, y1 in ((-0.10, 0.86, 0.52), (-0.03, 0.72, 0.22), (0.05, 0.87, 0.46), (0.11, 0.62, 0.20),
                      (-0.13, 0.40, 0.18)):
        pen.line([(x, y0), (x * 1.2, y1)], 0.028, foam, bare=True)
    for x, y, r in ((-0.22, 0.07, 0.07), (-0.09, 0.09, 0.085), (0.06, 0.09, 0.085), (0.20, 0.07, 0.07)):
        pen.oval(x, y, r, r * 0.75, foam)


FIGURES = {
    "bird": _bird, "cat": _cat, "cow": _cow, "cricket": _cricket, "dog": _dog, "duck": _duck, "frog": _frog,
    "horse": _horse, "sheep": _sheep, "car": _car, "police": _police, "train": _train, "bells": _bells,
    "drums": _drums, "flute": _flute, "guitar": _guitar, "piano": _piano, "trumpet": _trumpet, "rain": _rain,
    "waterfall": _waterfall,
}


def figure(name: str, hue: float, gesture: Gesture = STILL) -> list[Shape]:
    """Shapes of the class `name` in drawing order; `hue` in 0..1 walks through the palette of the class."""
    pen = Pen()
    FIGURES[name](pen, body_colour(name, hue), gesture)
    return pen.shapes


def body_colour(name: str, hue: float) -> Colour:
    """The colour that dominates a figure: the place `hue` (0..1) in the palette of the class `name`."""
    palette = PALETTES[name]
    position = hue * len(palette)
    first = min(int(position), len(palette) - 1)
    # a short way towards the next colour: variety without the mud in the middle between two colours
    return mix(palette[first], palette[(first + 1) % len(palette)], 0.25 * (position - first))
