"""What the configuration knows of alignment methods agrees with the methods."""

import pytest
from support.sides import BYTES, PIECES, every
from tokalign.alignment.methods.registry import METHODS
from tokalign.common.errors import TokalignError
from tokalign.config.alignments import VECTOR_METHODS, AlignmentSettings

BLOCK = {
    "pivots": 300, "pivot_choice": "frequent", "min_pivots": 1, "top_k": 1, "temperature": 1.0, "min_cosine": 0.0, "hubness": "none",
    "mutual": False, "one_to_one": False, "neighbors": 3, "min_similarity": 0.0, "weights": "uniform", "file": "none.json",
    "padding": "skip",
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_vector_methods_are_those_that_do_not_run_without_vectors(name):
    settings = {**dict.fromkeys(METHODS, BLOCK), "seed": 1, "threads": 1}
    try:
        METHODS[name](BYTES, PIECES, every(BYTES)[:5], settings)
        needs = False
    except (KeyError, TokalignError):  # it got as far as its own settings
        needs = False
    except ValueError as error:
        needs = "needs the vectors of both sides" in str(error)
    assert needs == (name in VECTOR_METHODS)


def test_each_block_of_keys_belongs_to_a_method():
    """So a name that is misspelled in one of the two places is found."""
    assert set(AlignmentSettings.model_fields) - {"methods", "seed"} <= set(METHODS)


def test_each_method_is_a_function_of_its_own():
    assert len(set(METHODS.values())) == len(METHODS)
    with pytest.raises(TokalignError, match="did you mean 'exact'"):
        AlignmentSettings.of({"methods": ["exacts"]})
