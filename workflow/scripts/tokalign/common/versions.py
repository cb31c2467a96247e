"""Version numbers of the steps.

Raise a number if its step computes something else; only what depends on that step runs again.
"""

VERSIONS = {
    "fetch": 1,
    "corpus": 1,
    "tokenizer": 1,
    "model": 1,
    "tokens": 1,
    "cooccurrences": 1,
    "glove": 2,
    "fasttext": 1,
    "imported_vectors": 1,
    "alignment": 2,
    "alignment_export": 1,
    "alignment_report": 2,
    "fit": 2,
    "initialization": 2,
    "packing": 1,
    "training": 2,
    "heldout": 1,
    "perplexity": 2,
    "tokenizer_metrics": 2,
    "testset": 1,
    "choices": 1,
    "tasks": 1,
    "translation": 1,
    "generation": 1,
    "efficiency": 1,
    "comparison": 2,
    "alignment_scores": 1,
    "tables": 3,
    "figures": 3,
}
