"""How the mini stack was trained: its encoders, generator and audio backbones, on SoundWorld alone.

In: nothing but seeds. Out: the files of `data/mini` and their report.
"""
