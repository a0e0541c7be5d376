"""Numbers: of the domain gap between two clouds of embeddings, and of sounds (FD, FAD, KL, IS, CS).

In: arrays. Out: numbers with their intervals.
"""

import lazy_loader

# what notebooks use; loaded when it is first asked for, so that a command loads no more than it needs
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["gap"], {
    "sounds": ["bootstrap", "clip_scores", "frechet_distance", "hits", "inception_score", "kl_divergence",
               "rate_interval", "student_interval"], "statistics": ["opposite"],
    "timing": ["event_curve", "matches", "motion", "offset", "peaks", "sound_curve"],
})
