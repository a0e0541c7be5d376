"""The frozen models: CLIP, CLAP, AudioLDM, the taggers that listen, and the stacks that they form.

In: pictures, sounds, texts, checkpoints. Out: embeddings, sounds, scores.
"""

import lazy_loader

# what notebooks use; loaded when it is first asked for, so that a command loads no more than it needs
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, [], {
    "clap": ["AudioEncoder", "Clap"],
    "clip": ["AGGREGATES", "VisionEncoder", "aggregate_frames"],
    "extraction": ["EmbedOptions", "Job", "embed", "embed_world", "preparation", "run_here", "world_store"],
    "mel": ["log_mel", "mel_filters"],
    "random_models": ["random_clap", "random_clip"],
    "stacks": ["load_stack"],
    "vocoder": ["GriffinLimVocoder", "LearnedVocoder"],
})
