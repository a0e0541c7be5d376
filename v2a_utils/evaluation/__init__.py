"""Every method through every measure, and what came of it.

In: a stack with its mappers. Out: tables, verdicts, figures.
"""

import lazy_loader

# what notebooks use; loaded when it is first asked for, so that a command loads no more than it needs
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["figures"], {
    "features": ["attribute_fidelity", "extract", "stack_seeds"], "listening_test": ["BlindTest"],
    "figures": ["ablation_figure", "audit_matrix", "claims_poster", "noticed"],
    "results": ["PAPER_TABLE", "Results", "ablation", "backbones", "beside_paper", "claims", "headline", "paper_form",
                "to_fill"],
    "run": ["SUMMARY", "Evaluation"], "settings": ["Settings", "world_settings"],
})
