"""The only part that is trained: from CLIP's space into CLAP's. `model` has the mapper, `training` the loop.

In: pairs of embeddings. Out: trained mappers, each in a folder of its own.
"""

import lazy_loader

# what notebooks use; loaded when it is first asked for, so that a command loads no more than it needs
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["model"], {
    "bridge": ["read_sentences"], "closed_form": ["CLOSED_FORM"], "registry": ["trained_mapper", "words_bridge"],
    "model": ["DiffusionMapper", "FlowMapper", "RegressionMapper"], "training": ["TrainConfig", "train_mapper"],
})
