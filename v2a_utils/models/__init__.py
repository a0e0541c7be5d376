"""The frozen models, one file each: CLIP, CLAP, AudioLDM, its vocoder, and the audio backbones that only measure.

In: pictures, sounds, texts, checkpoints. Out: embeddings, sounds, scores.
"""

import lazy_loader

# what notebooks use; loaded when it is first asked for, so that a command loads no more than it needs
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, [], {
    "clip": ["aggregate_frames"], "mel": ["log_mel", "mel_filters"], "vocoder": ["GriffinLimVocoder"],
})
