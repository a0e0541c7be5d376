"""Pictures into sound: V2A-Mapper (arXiv 2308.09300), taken apart.

Its rooms follow the data: a picture goes in at `data`, and a measured sound comes out at `evaluation`.

Idle threads sleep instead of spinning, so that two programs, or two notebooks, on one machine do not take each other's
cores. OpenMP reads this when PyTorch is loaded, so import this package before it.
"""

import os

__version__ = "0.3.0"  # the only place; what is cached is keyed by it

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
