"""What belongs together: the stacks `mini` and `paper`, where their weights lie, fetching, embedding.

In: a stack's name, sources of clips. Out: loaded models, stores of embeddings.
"""

import lazy_loader

# what notebooks use; loaded when it is first asked for, so that a command loads no more than it needs
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, [], {
    "extraction": ["EmbedOptions", "embed", "embed_world", "run_here"], "stack": ["load_stack"],
})
