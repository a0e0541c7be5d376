"""Numbers: of the domain gap between two clouds of embeddings, and of sounds (FD, FAD, KL, IS, CS).

In: arrays. Out: numbers with their intervals.
"""

import lazy_loader

# what notebooks use; loaded when it is first asked for, so that a command loads no more than it needs
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["gap"], {
    "gap": ["mean_cosine", "mutual_neighbours"],
    "sounds": ["Moments", "bootstrap", "clip_scores", "frechet_distance", "frechet_influence", "hits",
               "inception_score", "kl_divergence", "KernelReference", "rate_interval", "student_interval"],
    "statistics": ["CLOUDS", "RULE", "judge", "nearer", "opposite"],
    "timing": ["event_curve", "matches", "motion", "offset", "peaks", "sound_curve", "sound_onsets", "unseen"],
})
