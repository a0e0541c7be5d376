"""The only part that is trained: from CLIP's space into CLAP's. `model` has the mapper, `training` the loop.

In: pairs of embeddings. Out: trained mappers, each in a folder of its own.
"""

import lazy_loader

# what notebooks use; loaded when it is first asked for, so that a command loads no more than it needs
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["model"], {
    "bridge": ["read_sentences", "unpaired_sounds"],
    "closed_form": ["CLOSED_FORM", "mean_shift", "nearest_neighbour", "ridge"],
    "model": ["OBJECTIVES", "DiffusionMapper", "FlowMapper", "RegressionMapper"],
    "registry": ["trained_mapper", "words_bridge"],
    "training": ["TrainConfig", "train_mapper"],
})
