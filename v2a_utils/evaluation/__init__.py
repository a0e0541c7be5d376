"""Every method through every measure, and what came of it.

In: a stack with its mappers. Out: tables, verdicts, figures.
"""

import lazy_loader

# what notebooks use; loaded when it is first asked for, so that a command loads no more than it needs
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["figures"], {
    "clips": ["Clips", "world_clips"],
    "features": ["Extractor", "Features", "attribute_fidelity", "extract", "stack_seeds"],
    "figures": ["ablation_figure", "audit_matrix", "claims_poster", "noticed"],
    "listening_test": ["BlindTest"],
    "results": ["PAPER_TABLE", "Results", "ablation", "backbones", "beside_paper", "by_judge",
                "by_training", "claims", "gap_left", "headline", "paper_form", "to_fill"],
    "run": ["SUMMARY", "Evaluation", "evaluate"],
    "scorer": ["Scorer"],
    "settings": ["METHODS", "Settings", "world_settings"],
})
