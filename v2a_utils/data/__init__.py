"""Any data set in, a table of embeddings out: files, sounds, films, sources of clips, the store.

In: folders, films, lists of clips. Out: pictures, waveforms, rows of Parquet tables.
"""

import lazy_loader

# what the notebooks use, imported on first access, so that a command loads no more than it needs
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, [], {
    "audio": ["even_loudness", "load_audio", "resample", "save_audio"], "sources": ["open_source", "soundworld"],
    "store": ["Store"],
})
