"""Version numbers of the steps: raise one when what its step computes changes, and only what depends on it runs again."""

VERSIONS = {
    "fetch": 1,
    "corpus": 1,
    "tokenizer": 1,
    "model": 1,
    "tokens": 1,
    "cooccurrences": 1,
    "glove": 1,
    "alignment": 1,
    "alignment_report": 1,
    "initialisation": 1,
    "packing": 1,
    "training": 1,
    "heldout": 1,
    "perplexity": 1,
    "tokenizer_metrics": 1,
    "tables": 1,
    "figures": 1,
}
