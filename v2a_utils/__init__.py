"""Pictures into sound: CLIP, a light mapper, CLAP and AudioLDM (V2A-Mapper, arXiv 2308.09300).

Threads that have nothing to do sleep instead of spinning, so that two programs, or two notebooks, on one machine do
not take each other's cores. OpenMP reads this when PyTorch is loaded, so import this package before it.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
