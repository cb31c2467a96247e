"""TokAlign's ablations: which rows are replaced, by what, and what of it a checkpoint holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.models import IDS, ROWS, initialized, make, mixture, settings, stored, tensors
from tokalign.alignment.fills import FILLS
from tokalign.initialization.ablations import AblationSettings, ablated

LLAMA = "model.embed_tokens.weight"
SIZE = 4000


def many():
    """Return an alignment of many target tokens, one of them filled, with other weights for the LM head."""
    fill = np.zeros(SIZE, np.int8)
    fill[17] = FILLS["normal"]
    first, last = mixture(SIZE), mixture(SIZE, seed=2)
    first[17] = last[17] = 0
    return stored(first, last, fill)


def test_shuffle_replaces_a_share_by_single_random_source_tokens():
    before = many()
    after, replaced = ablated(before, AblationSettings(kind="shuffle", share=0.3, seed=1))
    assert abs(replaced.mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / SIZE)
    for old, new in ((before.matrix, after.matrix), (before.output, after.output)):
        assert new.dtype == np.float32
        assert (old[~replaced] != new[~replaced]).nnz == 0
        assert np.diff(new[replaced].indptr).tolist() == [1] * replaced.sum()
        assert set(new[replaced].data) == {1}
    assert (after.matrix[replaced] != after.output[replaced]).nnz == 0  # the same token for both matrices
    counts = np.bincount(after.matrix[replaced].indices, minlength=IDS)
    assert (abs(counts - replaced.sum() / IDS) < 5 * np.sqrt(replaced.sum() / IDS)).all()
    assert not replaced[17] and after.fill.tolist() == before.fill.tolist()


def test_permutation_replaces_all_rows():
    after, replaced = ablated(many(), AblationSettings(kind="permutation", share=0.0, seed=1))
    assert replaced.all() and not after.fill.any()
    assert (np.diff(after.matrix.indptr) == 1).all() and (after.matrix.data == 1).all()
    assert len(set(after.matrix.indices)) == IDS


@pytest.mark.parametrize(("kind", "share"), [("none", 1.0), ("shuffle", 0.0), ("random_all", 1.0), ("random_aug", 1.0)])
def test_others_leave_the_alignment_alone(kind, share):
    before = many()
    after, replaced = ablated(before, AblationSettings(kind=kind, share=share, seed=1))
    assert after is before and not replaced.any()


def test_the_seed_decides():
    one, two, other = (ablated(many(), AblationSettings(kind="shuffle", share=0.5, seed=seed)) for seed in (1, 1, 2))
    assert np.array_equal(one[1], two[1]) and (one[0].matrix != two[0].matrix).nnz == 0
    assert not np.array_equal(one[1], other[1])


def test_a_larger_share_replaces_more_of_the_same_rows():
    few, more = (ablated(many(), AblationSettings(kind="shuffle", share=share, seed=1))[1] for share in (0.2, 0.6))
    assert (few <= more).all() and few.sum() < more.sum()


def test_all_rows_afresh(tmp_path):
    """Both matrices from N(0, initializer_range), independently; the bias is zero."""
    model = make("phi, LM head with bias")
    model.config.initializer_range = 0.5
    made = tensors(initialized(tmp_path, model, stored(mixture(2000)), settings("random_all")))
    first, last = made[LLAMA], made["lm_head.weight"]
    for rows in (first, last):
        assert abs(rows.std() - 0.5) < 0.02 and abs(rows.mean()) < 0.02
    assert abs(torch.corrcoef(torch.stack([first.flatten(), last.flatten()]))[0, 1]) < 0.03
    assert not made["lm_head.bias"].any()


@pytest.mark.parametrize("size", [30, 50])
def test_rows_kept_by_coincidence_of_ids(tmp_path, size):
    """What resize_token_embeddings keeps, the model's padding included; further rows are fresh."""
    model = make("llama, untied")
    old = {LLAMA: model.get_input_embeddings().weight.clone(), "lm_head.weight": model.get_output_embeddings().weight.clone()}
    model.save_pretrained(tmp_path / "source")
    made = tensors(initialized(tmp_path, tmp_path / "source", stored(mixture(size)), settings("random_aug")))
    model.resize_token_embeddings(size, mean_resizing=False)
    kept = min(size, ROWS)
    assert torch.equal(made[LLAMA][:kept], model.get_input_embeddings().weight[:kept])
    for key, rows in old.items():
        assert torch.equal(made[key][:kept], rows[:kept])
        fresh = made[key][kept:]
        assert fresh.shape == (size - kept, 16)
        assert not len(fresh) or 0.01 < fresh.std() < 0.03


def test_replaced_rows_are_no_longer_the_same_token(tmp_path):
    """So they are rescaled, though the table calls them exact."""
    categories = np.array(["exact"] * 50)
    chosen = settings("permutation", scale={"input": 2, "output": 2})
    made = tensors(initialized(tmp_path, make("llama, tied"), stored(mixture(50)), chosen, categories))[LLAMA]
    rows = make("llama, tied").get_input_embeddings().weight.detach()[:IDS]
    assert all((2 * rows == row).all(dim=1).any() for row in made)
