"""AudioSet's 527 classes: their names in the order of PANNs' outputs, and which are right for a picture."""

import csv
from collections.abc import Collection, Iterable
from pathlib import Path

NUM_CLASSES = 527

_WATER = ("Waterfall", "Rain", "Raindrop", "Rain on surface", "Waves, surf", "Water", "Gush", "Gurgling", "Patter",
          "Slosh")
# the definition of Im2Wav's accuracy (RoySheffer/im2wav, Data/meta.py); SoundWorld's classes have ImageHear's names
RIGHT_FOR_IMAGEHEAR = {
    "accordion": ("Accordion",),
    "bass": ("Bass guitar",),
    "bells": ("Bell", "Church bell", "Jingle bell"),
    "bird": ("Bird", "Bird vocalization, bird call, bird song", "Chirp, tweet", "Squawk", "Pigeon, dove",
             "Bird flight, flapping wings"),
    "bongo": ("Drum", "Percussion", "Tabla"),
    "car": ("Car", "Vehicle"),
    "cat": ("Cat", "Purr", "Meow", "Hiss", "Caterwaul"),
    "chicken": ("Chicken, rooster", "Crowing, cock-a-doodle-doo", "Turkey"),
    "cow": ("Cattle, bovinae", "Moo", "Cowbell"),
    "cricket": ("Cricket", "Insect"),
    "dog": ("Dog", "Bark", "Yip", "Howl", "Bow-wow", "Growling", "Whimper (dog)"),
    "drums": ("Drum kit", "Drum machine", "Drum", "Snare drum", "Rimshot", "Drum roll", "Bass drum", "Timpani",
              "Cymbal", "Hi-hat", "Percussion"),
    "duck": ("Duck", "Quack", "Goose"),
    "flute": ("Flute",),
    "frog": ("Frog", "Croak"),
    "guitar": ("Guitar", "Acoustic guitar", "Steel guitar, slide guitar"),
    "gun": ("Gunshot, gunfire", "Machine gun", "Cap gun", "Explosion", "Firecracker", "Burst, pop", "Thump, thud",
            "Whack, thwack"),
    "harmonica": ("Harmonica",),
    "horse": ("Horse", "Clip-clop", "Neigh, whinny"),
    "lion": ("Roaring cats (lions, tigers)", "Roar"),
    "motorcycle": ("Motorcycle", "Vehicle"),
    "people": ("Speech", "Male speech, man speaking", "Female speech, woman speaking", "Conversation"),
    "piano": ("Piano", "Electric piano", "Keyboard (musical)", "Organ", "Electronic organ", "Hammond organ"),
    "police": ("Siren", "Police car (siren)", "Ambulance (siren)", "Emergency vehicle"),
    "rain": (*_WATER, "Thunderstorm"),
    "saxophone": ("Saxophone", "Brass instrument"),
    "sheep": ("Sheep", "Bleat"),
    "train": ("Train", "Steam whistle"),
    "trumpet": ("Trumpet", "Trombone", "French horn", "Brass instrument"),
    "waterfall": _WATER,
}
TOO_GENERAL = frozenset({  # ignored in the search for the highest class, as Im2Wav does
    "Animal", "Domestic animals, pets", "Livestock, farm animals, working animals", "Wild animals", "Music",
    "Musical instrument", "Sound effect", "Effects unit", "Outside, rural or natural", "Ambient music",
    "Classical music", "Disco", "Electronic music", "Folk music", "Funny music", "Heavy metal", "Jazz",
    "Middle Eastern music", "Music of Africa", "Music of Bollywood", "Music of Latin America", "Punk rock",
    "Rock and roll", "Rock music", "Salsa music", "Scary music", "Soundtrack music", "Swing music", "Techno",
    "Theme music", "Traditional music", "Video game music", "Vocal music",
})


def right_classes(labels: Iterable[str], names: Collection[str]) -> frozenset[str]:
    """Which of a tagger's classes `names` count as right for a picture of these labels.

    For each label the class of that name, else AudioSet's classes for it, as Im2Wav defines them. Empty if the tagger
    knows none of the labels.
    """
    known = set(names)
    return frozenset(name for label in labels
                     for name in ((label,) if label in known else RIGHT_FOR_IMAGEHEAR.get(label.lower(), ()))
                     if name in known)


def read_names(path: str | Path) -> list[str]:
    """AudioSet's display names in the order of its outputs, from its class_labels_indices.csv.

    ValueError for a file that is missing or lists something else.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            names = [row["display_name"] for row in csv.DictReader(file)]
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not AudioSet's class_labels_indices.csv ({error!r})") from error
    if len(names) != NUM_CLASSES:
        raise ValueError(f"{path}: {len(names)} classes, where AudioSet has {NUM_CLASSES}")
    return names
