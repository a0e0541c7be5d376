"""What a picture shows, judged from its pixels alone: nothing in here knows scenes or the tables behind captions.

A judge takes uint8 arrays (height, width, 3). `ground` is the same picture without its things, so that the difference
of the two is the things.
"""

import numpy as np
from PIL import Image, ImageCms
from scipy import ndimage

FOCAL = {  # a textbook example of each colour word
    "red": (200, 40, 40), "orange": (235, 140, 50), "yellow": (245, 205, 75), "green": (80, 150, 70),
    "teal": (50, 145, 140), "blue": (70, 120, 190), "purple": (130, 80, 170), "pink": (240, 150, 180),
    "white": (235, 232, 228), "grey": (140, 142, 148), "black": (45, 45, 50), "brown": (130, 85, 50),
    "beige": (222, 198, 160),
}
TO_LAB = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
GROUNDS = {"in a meadow": (120, 180, 100), "on a beach": (240, 212, 165), "in the snow": (235, 240, 248),
           "in a city": (192, 188, 192), "in a room": (190, 150, 110), "before the hills": (195, 202, 118)}


def lab(picture: np.ndarray) -> np.ndarray:
    """CIELAB (height, width, 3), by littlecms."""
    values = np.asarray(ImageCms.applyTransform(Image.fromarray(picture), TO_LAB)).astype(np.float64)
    signed = np.where(values[..., 1:] > 127, values[..., 1:] - 256, values[..., 1:])
    return np.concatenate([values[..., :1] * 100 / 255, signed], axis=-1)


def things(picture: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Mask (height, width) of the pixels that the things changed, without their faint shadows."""
    change = np.linalg.norm(lab(picture) - lab(ground), axis=-1)
    return ndimage.binary_opening(change > 14)


def colour_names(picture: np.ndarray, mask: np.ndarray, slack: float = 16.0) -> set[str]:
    """The words for the colour that fills most of the mask: the nearest one, and those less than `slack` farther."""
    pixels = lab(picture)[mask]
    bins = np.round(pixels / 8).astype(int)
    kinds, sizes = np.unique(bins, axis=0, return_counts=True)
    near = np.linalg.norm(kinds[:, None] - kinds[None], axis=-1) <= 1.5  # a bin and its neighbours
    centre = kinds[(near @ sizes).argmax()]
    dominant = pixels[np.linalg.norm(bins - centre, axis=1) <= 1.5].mean(0)
    distances = np.linalg.norm(lab(np.uint8([list(FOCAL.values())]))[0] - dominant, axis=1)
    return {word for word, distance in zip(FOCAL, distances) if distance < distances.min() + slack}


def extent(mask: np.ndarray) -> tuple[float, float, float]:
    """Height, width and lowest row of a mask, in pixels."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return float(np.ptp(rows) + 1), float(np.ptp(columns) + 1), float(rows.max())


def background(ground: np.ndarray) -> str:
    """Where it is, by the colour of the ground at the sides of a picture by day."""
    floor = np.median(np.concatenate([ground[80:, :20], ground[80:, -20:]], axis=1), axis=(0, 1))
    distance = {name: np.linalg.norm(lab(np.uint8([[colour]])) - lab(np.uint8([[floor]]))) for name, colour in
                GROUNDS.items()}
    return min(distance, key=distance.get)


def light(ground: np.ndarray) -> str:
    """Time of day, by the upper corners: dark and blue at night, reddish at dusk."""
    sky = np.concatenate([ground[:30, :8], ground[:30, -8:]], axis=1).reshape(-1, 3).astype(float).mean(0)
    if sky.mean() < 115:
        return "at night"
    return "at dusk" if sky[0] - sky[1] > 22 else "by day"


def style(picture: np.ndarray, ground: np.ndarray) -> str:
    """How a picture by day is drawn: what no other style does, the most striking first."""
    grey = picture.astype(float).mean(-1)
    texture = np.median(np.abs(grey - ndimage.uniform_filter(grey, 3)))
    if texture > 8:
        return "a mosaic"  # grout every three pixels
    if grey.mean() < 110:
        return "a chalk drawing"  # on a board
    if np.linalg.norm(lab(ground)[..., 1:], axis=-1).mean() < 9 and grey.mean() > 212:
        return "a pencil sketch"  # a hint of colour on paper
    if texture > 1.3:
        return "a watercolour"  # on grained paper
    corners = np.mean([grey[:8, :8], grey[:8, -8:], grey[-8:, :8], grey[-8:, -8:]])
    if corners < 0.87 * ground[40:80, 40:88].mean():
        return "a shaded picture"  # darker towards the corners
    return "a flat or an outlined drawing"


def count(mask: np.ndarray) -> int:
    """How many stand side by side: two leave a gap in the middle, three overlap."""
    height, width, _ = extent(mask)
    if width < 1.5 * height:
        return 1
    middle = mask[:, round(np.flatnonzero(mask.any(0)).mean())]
    return 2 if middle.sum() < 0.2 * height else 3
