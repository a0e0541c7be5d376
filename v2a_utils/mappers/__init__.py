"""The only part that is trained: from CLIP's space into CLAP's.

In: pairs of embeddings. Out: trained mappers, each in a folder of its own.
"""

import lazy_loader

# what notebooks use; loaded when it is first asked for, so that a command loads no more than it needs
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["diffusion"], {
    "bridge": ["read_sentences", "unpaired_sounds", "words_bridge"],
    "closed_form": ["CLOSED_FORM", "mean_shift", "nearest_neighbour", "ridge"],
    "folders": ["trained_mapper"],
    "networks": ["OBJECTIVES", "DiffusionMapper", "FlowMapper", "RegressionMapper", "train_mapper"],
    "training": ["TrainConfig"],
})
