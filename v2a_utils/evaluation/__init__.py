"""Every method through every measure, and what came of it.

In: a stack with its mappers. Out: tables, verdicts, figures.
"""

import lazy_loader

# what notebooks use; loaded when it is first asked for, so that a command loads no more than it needs
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["figures"], {
    "attributes": ["attribute_fidelity", "harmonicity", "measure_pitch", "seen_attributes"],
    "features": ["Extractor", "Features", "extract", "stack_seeds"],
    "clips": ["Clips", "conditions", "world_clips"],
    "listening_test": ["BlindTest"],
    "reproduced": ["ablation", "ablation_figure", "beside_paper", "paper_form", "to_fill"],
    "results": ["PAPER_TABLE", "Results", "agreement", "backbones", "claims", "gap_left", "our_table"],
    "robustness": ["by_judge", "by_training", "reach"],
    "run": ["SUMMARY", "Evaluation", "evaluate"],
    "scorer": ["Scorer"],
    "settings": ["METHODS", "Settings", "world_settings"],
})
