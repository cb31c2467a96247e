"""Rows of initialized checkpoints: padding, fills, lengths, and rows that were fitted to the model."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from commands.initialization import initialize_model
from support.models import (
    CONFIGS,
    DEFAULTS,
    IDS,
    LLAMA,
    ROLES,
    initialized,
    logits,
    make,
    mixture,
    settings,
    stored,
    tensors,
)
from support.project import write_tokenizer
from tokalign.alignment.fills import FILLS
from tokalign.alignment.matrix import Alignment, write_alignment
from tokalign.alignment.table import read_categories
from tokalign.common.errors import ArtifactError, ConfigurationError
from tokalign.initialization.fitted_rows import FittedRows
from tokalign.initialization.initialize import initialize
from tokalign.models.loading import load_model
from transformers import AutoTokenizer


@pytest.mark.parametrize("name", [name for name in CONFIGS if not name.startswith("gemma2")])
def test_padding_rows_never_win(tmp_path, name):
    """Whatever is read, the highest logit is that of a token, and a padding row has at most the mean probability."""
    out = initialized(tmp_path, make(name), stored(mixture(50)), settings(pad_to_multiple_of=32))
    model = load_model(out).eval()
    assert model.config.vocab_size == 64
    rng = np.random.default_rng(0)
    made = np.concatenate([logits(model, rng.integers(50, size=20).tolist()) for _ in range(20)])
    assert made.shape == (400, 64)
    assert made.argmax(axis=1).max() < 50
    shares = np.exp(made - made.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    assert (shares[:, 50:] <= 1 / 50).all()
    np.testing.assert_allclose(made[:, 50:], np.repeat(made[:, :50].mean(axis=1, keepdims=True), 14, axis=1), atol=1e-4)


def test_padding_rows_never_win_with_capped_logits(tmp_path):
    model = load_model(initialized(tmp_path, make("gemma2, tied"), stored(mixture(50)), settings(pad_to_multiple_of=64))).eval()
    made = np.concatenate([logits(model, list(range(start, start + 10))) for start in range(0, 40, 10)])
    assert made.argmax(axis=1).max() < 50


@pytest.mark.parametrize(("multiple", "rows"), [(1, 50), (50, 50), (64, 64), (7, 56)])
def test_number_of_rows(tmp_path, multiple, rows):
    out = initialized(tmp_path, make("llama, untied"), stored(mixture(50)), settings(pad_to_multiple_of=multiple))
    made = tensors(out)
    assert made[LLAMA].shape == made["lm_head.weight"].shape == (rows, 16)
    for key in (LLAMA, "lm_head.weight"):
        mean = made[key][:50].mean(dim=0)
        torch.testing.assert_close(made[key][50:], mean.expand(rows - 50, 16), atol=1e-6, rtol=0)


def test_filled_rows(tmp_path):
    """Mean, zero and normal rows of the ordinary source tokens, by the alignment's seed."""
    dense, fill = mixture(50), np.zeros(50, np.int8)
    fill[[20, 30, 40, 41]] = [FILLS["mean"], FILLS["zero"], FILLS["normal"], FILLS["normal"]]
    dense[fill != 0] = 0
    model = make("phi, LM head with bias")
    first, last, bias = (
        part.detach().double().numpy()[1:IDS]
        for part in (model.model.embed_tokens.weight, model.lm_head.weight, model.lm_head.bias)
    )
    made = {key: value.numpy() for key, value in tensors(initialized(tmp_path, model, stored(dense, fill=fill))).items()}
    for stream, (key, rows) in enumerate(((LLAMA, first), ("lm_head.weight", last), ("lm_head.bias", bias))):
        np.testing.assert_allclose(made[key][20], rows.mean(axis=0), atol=1e-6)
        assert not made[key][30].any()
        for i in (40, 41):
            draw = np.random.Generator(np.random.PCG64([7, stream, i])).standard_normal(rows.shape[1:])
            np.testing.assert_allclose(made[key][i], rows.mean(axis=0) + rows.std(axis=0) * draw, atol=1e-6)


CATEGORIES = np.array(["special", "exact"] * 5 + ["aligned"] * 20 + ["decomposed"] * 20)


def lengths(rows: torch.Tensor) -> np.ndarray:
    return np.linalg.norm(rows.double().numpy(), axis=1)


def test_scaled_rows(tmp_path):
    plain = tensors(initialized(tmp_path, make("llama, untied"), stored(mixture(50))))
    (tmp_path / "scaled").mkdir()
    chosen = settings(scale={"input": 0.5, "output": 3.0})
    made = tensors(initialized(tmp_path / "scaled", make("llama, untied"), stored(mixture(50)), chosen, CATEGORIES))
    for key, factor in ((LLAMA, 0.5), ("lm_head.weight", 3.0)):
        assert torch.equal(made[key][:10], plain[key][:10])
        torch.testing.assert_close(made[key][10:], factor * plain[key][10:])


@pytest.mark.parametrize("how", ["mean", "median", "pieces"])
def test_matched_lengths(tmp_path, how):
    """Rows get the wanted length and keep their direction; rows of the same token and filled rows stay as they are."""
    dense, fill = mixture(50), np.zeros(50, np.int8)
    fill[49], dense[49], dense[48] = FILLS["mean"], 0, 0
    dense[48, 3] = -2.0
    model = make("llama, tied")
    rows = model.get_input_embeddings().weight.detach()[:IDS]
    plain = tensors(initialized(tmp_path, model, stored(dense, fill=fill)))[LLAMA]
    (tmp_path / "matched").mkdir()
    chosen = settings(norm_matching=how, scale={"input": 2, "output": 2})
    made = tensors(initialized(tmp_path / "matched", model, stored(dense, fill=fill), chosen, CATEGORIES))[LLAMA]
    own = lengths(rows)
    if how == "pieces":
        wanted = np.array([np.average(own, weights=np.abs(row)) for row in dense[10:49]])
    else:
        wanted = np.full(39, getattr(np, how)(own[1:]))
    np.testing.assert_allclose(lengths(made[10:49]), 2 * wanted, rtol=1e-5)
    directions = [np.asarray(part[10:49]) / lengths(part[10:49])[:, None] for part in (made, plain)]
    np.testing.assert_allclose(*directions, atol=1e-6)
    kept = [*range(10), 49]
    assert torch.equal(made[kept], plain[kept])


def test_rows_of_zeros_keep_their_length(tmp_path):
    dense = mixture(50)
    dense[20] = 0
    dense[20, [3, 4]] = [1, -1]
    model = make("llama, tied")
    with torch.no_grad():
        model.get_input_embeddings().weight[3] = model.get_input_embeddings().weight[4]
    made = tensors(initialized(tmp_path, model, stored(dense), settings(norm_matching="mean"), CATEGORIES))[LLAMA]
    assert not made[20].any()


def test_one_matrix_has_one_scale(tmp_path):
    chosen = settings(scale={"input": 1, "output": 2})
    with pytest.raises(ConfigurationError, match=r"(?s)initialization\.scale.*input 1, output 2.*untie"):
        initialized(tmp_path, make("llama, tied"), stored(mixture(50)), chosen, CATEGORIES)
    (tmp_path / "untied").mkdir()
    chosen = settings(scale={"input": 1, "output": 2}, untie=True)
    made = tensors(initialized(tmp_path / "untied", make("llama, tied"), stored(mixture(50)), chosen, CATEGORIES))
    torch.testing.assert_close(made["lm_head.weight"][10:], 2 * made[LLAMA][10:])


@pytest.mark.parametrize("categories", [None, CATEGORIES[:-1]])
def test_lengths_need_the_table_of_the_same_alignment(tmp_path, categories):
    with pytest.raises(ArtifactError, match="table of tokens does not belong"):
        initialized(tmp_path, make("llama, tied"), stored(mixture(50)), settings(norm_matching="mean"), categories)


def test_command_writes_a_checkpoint_with_tokenizer_and_record(tmp_path):
    make("llama, tied").save_pretrained(tmp_path / "source")
    write_tokenizer(tmp_path / "tokenizer", ["a b c"], 300)
    dense = np.resize(mixture(50), (300, IDS))
    alignment = Alignment(**vars(stored(dense)), categories=np.resize(CATEGORIES, 300), scores=np.full(300, np.nan))
    write_alignment(alignment, tmp_path / "a.safetensors", tmp_path / "t.parquet", {})
    (tmp_path / "info.json").write_text(json.dumps({"roles": {"eos": 0}}))
    block = {**DEFAULTS, "ablation": {"kind": "none", "share": 1, "seed": 1}, "norm_matching": "mean", "pad_to_multiple_of": 64}
    words = {
        "model": "source", "alignment": "a.safetensors", "tokens": "t.parquet", "tokenizer": "tokenizer",
        "tokenizer-info": "info.json", "output": "out",
    }  # fmt: skip
    options = [word for name, file in words.items() for word in (f"--{name}", str(tmp_path / file))]
    settings_text = json.dumps({**block, "trust_remote_code": False})
    initialize_model.main(initialize_model.arguments().parse_args([*options, "--settings", settings_text]))
    record = json.loads((tmp_path / "out/initialization.json").read_text())
    assert (record["rows"], record["padding_rows"], record["tied"]) == (300, 20, True)
    assert record["settings"] == block
    assert record["ablation"] == "no ablation"
    model = load_model(tmp_path / "out")
    assert model.config.vocab_size == len(model.get_input_embeddings().weight) == 320
    assert len(AutoTokenizer.from_pretrained(tmp_path / "out")) <= 300
    free = np.isin(np.resize(CATEGORIES, 300), ["aligned", "decomposed"])
    made = lengths(model.get_input_embeddings().weight.detach()[:300][free])
    np.testing.assert_allclose(made, made[0], rtol=1e-5)


def test_read_categories(tmp_path):
    pq.write_table(pa.table({"id": [0, 1], "category": ["exact", "mean"]}), tmp_path / "t.parquet")
    assert read_categories(tmp_path / "t.parquet").tolist() == ["exact", "mean"]
    pq.write_table(pa.table({"id": [0, 2], "category": ["exact", "mean"]}), tmp_path / "t.parquet")
    with pytest.raises(ArtifactError, match="not one row per id"):
        read_categories(tmp_path / "t.parquet")
    (tmp_path / "t.parquet").write_bytes(b"x")
    for name, reason in (("t.parquet", "not a readable Parquet file"), ("none.parquet", "no such file")):
        with pytest.raises(ArtifactError, match=reason):
            read_categories(tmp_path / name)


# -------------------------------------------------------------------------------------------------------- fitted rows


def fitted(tied: bool, size: int = 50, width: int = 16) -> FittedRows:
    rng = np.random.default_rng(5)
    first, last = rng.normal(size=(2, 3, width)).astype(np.float32)
    bias, direction = rng.normal(size=size).astype(np.float32), rng.normal(size=width).astype(np.float32)
    metadata = {"vocabulary_size": size, "tied": tied}
    return FittedRows(np.array([0, 12, 49]), first, last, bias, direction, metadata)


@pytest.mark.parametrize("untie", [False, True])
@pytest.mark.parametrize("name", [name for name in CONFIGS if not name.startswith("opt")])
def test_fitted_rows_lie_on_top_of_the_product(tmp_path, name, untie):
    """Rows are replaced in both matrices; biases go into the head, or into the one matrix; a bias of the head stays."""
    tied = name.endswith(" tied") and not untie
    model, plain, made, rows = make(name), tmp_path / "plain", tmp_path / "made", fitted(tied)
    plain.mkdir()
    made.mkdir()
    initialized(plain, model, stored(mixture(50)), settings(untie=untie, pad_to_multiple_of=8))
    chosen = settings(untie=untie, pad_to_multiple_of=8)
    record = initialize(plain / "source", made, stored(mixture(50)), None, ROLES, chosen, rows)
    assert record["fitted"] == {"rows": 3, "vocabulary_size": 50, "tied": tied}
    before, after = load_model(plain / "initialized"), load_model(made)
    first, last = before.get_input_embeddings().weight.detach().clone(), before.get_output_embeddings().weight.detach().clone()
    first[rows.ids], last[rows.ids] = torch.from_numpy(rows.input), torch.from_numpy(rows.input if tied else rows.output)
    last[:50] += torch.outer(torch.from_numpy(rows.bias), torch.from_numpy(rows.direction))
    last[50:] = last[:50].mean(dim=0)
    first[50:] = first[:50].mean(dim=0)
    torch.testing.assert_close(after.get_output_embeddings().weight.detach(), last, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(after.get_input_embeddings().weight.detach(), last if tied else first, atol=1e-6, rtol=1e-5)
    others = {key: value for key, value in before.state_dict().items() if value.dim() == 1 or 56 not in value.shape}
    assert all(torch.equal(after.state_dict()[key], value) for key, value in others.items())


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (fitted(True, size=49), "vocabulary 49, width 16, one matrix"),
        (fitted(True, width=15), "vocabulary 50, width 15, one matrix"),
        (fitted(False), "vocabulary 50, width 16, two matrices"),
    ],
)
def test_fitted_rows_of_another_model_or_vocabulary(tmp_path, rows, found):
    make("llama, tied").save_pretrained(tmp_path / "source")
    (tmp_path / "made").mkdir()
    message = rf"(?s)source: the fitted rows are not of this model.*{found}\n  expected: vocabulary 50, width 16, one matrix"
    with pytest.raises(ArtifactError, match=message):
        initialize(tmp_path / "source", tmp_path / "made", stored(mixture(50)), None, ROLES, settings(), rows)
