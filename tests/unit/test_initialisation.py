"""Initialised checkpoints: their tensors against A @ E and against transformers, for several architectures."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import initialize_model
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from models_for_tests import CONFIGS, DEFAULTS, IDS, ROWS, SMALL, initialised, make, mixture, settings, stored, tensors
from safetensors.torch import load_file, save_file
from scipy import sparse
from tiny import write_tokenizer
from tokalign.alignment import Alignment, write_alignment
from tokalign.errors import ArtefactError, ConfigurationError, InputError
from tokalign.fills import FILLS
from tokalign.fitted import FittedRows
from tokalign.initialisation import embeddings, initialise, load_model, read_categories
from tokalign.model_configuration import set_special_ids
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig, LlamaModel, PreTrainedModel

ROLES = {"eos": 1, "bos": 2, "unk": 4}
LLAMA = "model.embed_tokens.weight"


def logits(model: PreTrainedModel, ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].double().numpy()


def in_memory(source: Path, dense: np.ndarray, roles: dict[str, int], out: Path, shard: str) -> None:
    """Initialise with the whole model in memory, by the means of transformers, and save it."""
    model = load_model(source)
    matrix = sparse.csr_matrix(dense.astype(np.float32))
    first, last, tied = embeddings(model)
    parts = [first.weight, *([] if tied else [last.weight]), *([] if getattr(last, "bias", None) is None else [last.bias])]
    made = [torch.from_numpy(matrix @ part.detach()[:IDS].float().numpy()).to(part.dtype) for part in parts]
    model.resize_token_embeddings(len(dense), mean_resizing=False)
    first, last, _ = embeddings(model)
    parts = [first.weight, *([] if tied else [last.weight]), *([] if getattr(last, "bias", None) is None else [last.bias])]
    with torch.no_grad():
        for part, rows in zip(parts, made, strict=True):
            part.copy_(rows)
    set_special_ids(model.config, model.generation_config, roles)
    model.save_pretrained(out, max_shard_size=shard)


@pytest.mark.parametrize("shard", ["5GB", "3KB"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", CONFIGS)
def test_same_tensors_as_with_the_model_in_memory(tmp_path, name, dtype, shard):
    """Same keys, types and bytes; of a checkpoint in one file, all files are the same."""
    make(name, dtype).save_pretrained(tmp_path / "source", max_shard_size=shard)
    out = initialised(tmp_path, tmp_path / "source", stored(mixture(50)), roles=ROLES)
    in_memory(tmp_path / "source", mixture(50), ROLES, tmp_path / "reference", shard)
    made, wanted = tensors(out), tensors(tmp_path / "reference")
    assert made.keys() == wanted.keys()
    for key in wanted:
        assert made[key].dtype == wanted[key].dtype
        assert torch.equal(made[key], wanted[key]), key
    if shard == "5GB":
        files = sorted(file.name for file in (tmp_path / "reference").iterdir())
        assert sorted(file.name for file in out.iterdir()) == files
        assert all((out / file).read_bytes() == (tmp_path / "reference" / file).read_bytes() for file in files)
    else:
        index = json.loads((out / "model.safetensors.index.json").read_text())
        assert index["weight_map"].keys() == made.keys()
        assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in made.values())
        assert index["metadata"]["total_parameters"] == sum(tensor.numel() for tensor in made.values())


@pytest.mark.parametrize("size", [12, 37, 75])
@pytest.mark.parametrize("name", CONFIGS)
def test_rows_and_logits_are_those_of_the_product(tmp_path, name, size):
    """A token that is a source token is read as that token, and every logit is the mixture of the source's logits."""
    model, dense = make(name), mixture(size)
    first, last = (
        m.weight.detach().double().numpy().copy() for m in (model.get_input_embeddings(), model.get_output_embeddings())
    )
    texts = [[0, 3, 9, 9, 2], [7, 1, 8, 4, 6, 5]]
    before = [logits(model, [int(dense[i].argmax()) for i in ids]) for ids in texts]
    again = load_model(initialised(tmp_path, model, stored(dense))).eval()
    assert again.config.vocab_size == size
    np.testing.assert_allclose(again.get_input_embeddings().weight.detach().numpy(), dense @ first[:IDS], atol=1e-6)
    np.testing.assert_allclose(again.get_output_embeddings().weight.detach().numpy(), dense @ last[:IDS], atol=1e-6)
    linear = getattr(again.config, "final_logit_softcapping", None) is None
    for ids, expected in zip(texts, before, strict=True):
        if linear:
            np.testing.assert_allclose(logits(again, ids), expected[:, :IDS] @ dense.T, atol=2e-5)
        else:
            np.testing.assert_allclose(logits(again, ids)[:, :10], (expected[:, :IDS] @ dense.T)[:, :10], atol=2e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_loads_with_nothing_missing_and_nothing_else_changed(tmp_path, name):
    model, tied = make(name), name.endswith(" tied")
    inner = {key: value for key, value in model.state_dict().items() if ROWS not in value.shape}
    assert len(inner) > 10
    out = initialised(tmp_path, model, stored(mixture(50)), roles=ROLES | {"pad": 3})
    again, found = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not any(map(len, (found["missing_keys"], found["unexpected_keys"], found["mismatched_keys"])))
    assert embeddings(again)[2] == again.config.tie_word_embeddings == tied
    for config in (again.config, again.generation_config):
        assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (2, 1, 3)
    after = {key: value for key, value in again.state_dict().items() if 50 not in value.shape}
    assert after.keys() == inner.keys()
    assert all(torch.equal(after[key], inner[key]) for key in inner)


def test_computed_in_float32_and_kept_in_the_dtype_of_the_model(tmp_path):
    model, dense = make("llama, tied", torch.bfloat16), mixture(50)
    rows = model.get_input_embeddings().weight.detach()[:IDS].float()
    made = tensors(initialised(tmp_path, model, stored(dense)))[LLAMA]
    assert made.dtype == torch.bfloat16
    exact = (torch.from_numpy(dense) @ rows.double()).to(torch.bfloat16)
    assert (made == exact).float().mean() > 0.99  # sums of bfloat16 numbers would be right in some 70 % only


# -------------------------------------------------------------------------------------------------- one or two matrices


@pytest.mark.parametrize("name", [name for name in CONFIGS if name.endswith(" tied")])
def test_untied(tmp_path, name):
    """Two matrices of the same source rows, each with its own weights."""
    model, first, last = make(name), mixture(50), mixture(50, seed=2)
    rows = model.get_input_embeddings().weight.detach().double().numpy()[:IDS]
    out = initialised(tmp_path, model, stored(first, last), settings(untie=True))
    again, found = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not any(map(len, (found["missing_keys"], found["unexpected_keys"], found["mismatched_keys"])))
    assert not again.config.tie_word_embeddings and not embeddings(again)[2]
    np.testing.assert_allclose(again.get_input_embeddings().weight.detach().numpy(), first @ rows, atol=1e-6)
    np.testing.assert_allclose(again.get_output_embeddings().weight.detach().numpy(), last @ rows, atol=1e-6)
    again.save_pretrained(tmp_path / "again")
    names = {"model.safetensors", "config.json"}
    assert all((tmp_path / "again" / file).read_bytes() == (out / file).read_bytes() for file in names)


def test_untied_checkpoint_of_several_files(tmp_path):
    make("llama, tied").save_pretrained(tmp_path / "source", max_shard_size="3KB")
    out = initialised(tmp_path, tmp_path / "source", stored(mixture(50)), settings(untie=True))
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert index["weight_map"]["lm_head.weight"] == index["weight_map"][LLAMA]
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in tensors(out).values())
    assert torch.equal(tensors(out)["lm_head.weight"], tensors(out)[LLAMA])
    assert not embeddings(load_model(out))[2]


def test_head_has_weights_of_its_own_in_an_untied_model(tmp_path):
    first, last = mixture(50), mixture(50, seed=2)
    model = make("phi, LM head with bias")
    rows = [part.detach().double().numpy()[:IDS] for part in (model.get_output_embeddings().weight, model.lm_head.bias)]
    made = tensors(initialised(tmp_path, model, stored(first, last)))
    np.testing.assert_allclose(made["lm_head.weight"], last @ rows[0], atol=1e-6)
    np.testing.assert_allclose(made["lm_head.bias"], last @ rows[1], atol=1e-6)


@pytest.mark.parametrize("which", ["input", "output", "mean"])
def test_one_matrix_for_two_kinds_of_weights(tmp_path, which):
    first, last = mixture(50), mixture(50, seed=2)
    wanted = {"input": first, "output": last, "mean": (first + last) / 2}[which]
    model = make("llama, tied")
    rows = model.get_input_embeddings().weight.detach().double().numpy()[:IDS]
    made = tensors(initialised(tmp_path, model, stored(first, last), settings(tied_rows=which)))
    np.testing.assert_allclose(made[LLAMA], wanted @ rows, atol=1e-6)
    assert "lm_head.weight" not in made


def resave(folder: Path, change) -> Path:
    """Rewrite the weights of a saved checkpoint."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_tied_matrix_that_is_stored_twice(tmp_path):
    make("llama, tied").save_pretrained(tmp_path / "source")
    once = tensors(initialised(tmp_path, tmp_path / "source", stored(mixture(50))))
    resave(tmp_path / "source", lambda weights: weights.update({"lm_head.weight": weights[LLAMA].clone()}))
    (tmp_path / "twice").mkdir()
    out = initialised(tmp_path / "twice", tmp_path / "source", stored(mixture(50)))
    assert tensors(out).keys() == once.keys()
    assert torch.equal(tensors(out)[LLAMA], once[LLAMA])
    (tmp_path / "both").mkdir()
    out = initialised(tmp_path / "both", tmp_path / "source", stored(mixture(50)), settings(untie=True))
    assert torch.equal(tensors(out)["lm_head.weight"], once[LLAMA])


def test_tied_matrix_that_is_stored_as_the_head_only(tmp_path):
    make("llama, tied").save_pretrained(tmp_path / "source")
    resave(tmp_path / "source", lambda weights: weights.update({"lm_head.weight": weights.pop(LLAMA)}))
    out = initialised(tmp_path, tmp_path / "source", stored(mixture(50)))
    assert LLAMA not in tensors(out)
    assert embeddings(load_model(out))[2]
    (tmp_path / "both").mkdir()
    two = tensors(initialised(tmp_path / "both", tmp_path / "source", stored(mixture(50)), settings(untie=True)))
    assert torch.equal(two[LLAMA], two["lm_head.weight"])


def test_two_different_matrices_under_a_tied_configuration_stay_apart(tmp_path, caplog):
    make("llama, tied").save_pretrained(tmp_path / "source")
    resave(tmp_path / "source", lambda weights: weights.update({"lm_head.weight": weights[LLAMA] * 2}))
    with caplog.at_level(logging.WARNING):
        out = initialised(tmp_path, tmp_path / "source", stored(mixture(50)))
    assert "two different ones are stored" in caplog.text
    made = load_model(out)
    assert not made.config.tie_word_embeddings
    torch.testing.assert_close(made.lm_head.weight, 2 * made.model.embed_tokens.weight)


def test_keys_without_the_prefix_of_the_base_model(tmp_path):
    """A checkpoint that was saved from the base model."""
    make("llama, tied").save_pretrained(tmp_path / "source")
    wanted = tensors(initialised(tmp_path, tmp_path / "source", stored(mixture(50))))

    def strip(weights):
        for key in list(weights):
            weights[key.removeprefix("model.")] = weights.pop(key)

    resave(tmp_path / "source", strip)
    (tmp_path / "bare").mkdir()
    out = initialised(tmp_path / "bare", tmp_path / "source", stored(mixture(50)))
    assert {f"model.{key}" for key in tensors(out)} == wanted.keys()
    assert torch.equal(load_model(out).model.embed_tokens.weight, wanted[LLAMA])


def test_spare_copy_in_a_file_of_its_own(tmp_path):
    """The file and its line in the index are left out."""
    make("llama, tied").save_pretrained(tmp_path / "source", max_shard_size="3KB")
    index = json.loads((tmp_path / "source/model.safetensors.index.json").read_text())
    save_file({"lm_head.weight": tensors(tmp_path / "source")[LLAMA]}, tmp_path / "source/spare.safetensors", {"format": "pt"})
    index["weight_map"]["lm_head.weight"] = "spare.safetensors"
    (tmp_path / "source/model.safetensors.index.json").write_text(json.dumps(index))
    out = initialised(tmp_path, tmp_path / "source", stored(mixture(50)))
    assert not (out / "spare.safetensors").exists()
    assert "lm_head.weight" not in json.loads((out / "model.safetensors.index.json").read_text())["weight_map"]
    assert embeddings(load_model(out))[2]


def test_tensors_at_odd_places_of_a_file(tmp_path):
    """A header of odd length, which the safetensors library does not write but reads."""
    make("llama, tied").save_pretrained(tmp_path / "source")
    wanted = tensors(initialised(tmp_path, tmp_path / "source", stored(mixture(50))))
    file = tmp_path / "source/model.safetensors"
    whole = file.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    file.write_bytes((length + 1).to_bytes(8, "little") + whole[8 : 8 + length] + b" " + whole[8 + length :])
    (tmp_path / "odd").mkdir()
    made = tensors(initialised(tmp_path / "odd", tmp_path / "source", stored(mixture(50))))
    assert made.keys() == wanted.keys()
    assert all(torch.equal(made[key], wanted[key]) for key in wanted)


def test_tensors_that_the_model_does_not_know_are_kept(tmp_path):
    make("llama, tied").save_pretrained(tmp_path / "source")
    extra = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.arange(4), "scales": torch.ones(3, dtype=torch.float16)}
    resave(tmp_path / "source", lambda weights: weights.update(extra))
    made = tensors(initialised(tmp_path, tmp_path / "source", stored(mixture(50))))
    assert all(torch.equal(made[key], value) and made[key].dtype == value.dtype for key, value in extra.items())


def test_model_with_code_of_its_own(tmp_path):
    make("llama, tied").save_pretrained(tmp_path / "source")
    (tmp_path / "source/own_code.py").write_text(
        "from transformers import LlamaForCausalLM\n\nclass OwnModel(LlamaForCausalLM):\n    pass\n"
    )
    config = json.loads((tmp_path / "source/config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "own_code.OwnModel"}
    (tmp_path / "source/config.json").write_text(json.dumps(config))
    (tmp_path / "out").mkdir()
    initialise(tmp_path / "source", tmp_path / "out", stored(mixture(50)), None, {"eos": 1}, settings(), trust_remote_code=True)
    assert (tmp_path / "out/own_code.py").read_bytes() == (tmp_path / "source/own_code.py").read_bytes()
    made = load_model(tmp_path / "out", trust_remote_code=True)
    assert type(made).__name__ == "OwnModel"
    assert made.config.vocab_size == 50


# ----------------------------------------------------------------------------------------------------- rows and padding


@pytest.mark.parametrize("name", [name for name in CONFIGS if not name.startswith("gemma2")])
def test_padding_rows_never_win(tmp_path, name):
    """Whatever is read, the highest logit is that of a token, and a padding row has at most the mean probability."""
    out = initialised(tmp_path, make(name), stored(mixture(50)), settings(pad_to_multiple_of=32))
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
    model = load_model(initialised(tmp_path, make("gemma2, tied"), stored(mixture(50)), settings(pad_to_multiple_of=64))).eval()
    made = np.concatenate([logits(model, list(range(start, start + 10))) for start in range(0, 40, 10)])
    assert made.argmax(axis=1).max() < 50


@pytest.mark.parametrize(("multiple", "rows"), [(1, 50), (50, 50), (64, 64), (7, 56)])
def test_number_of_rows(tmp_path, multiple, rows):
    out = initialised(tmp_path, make("llama, untied"), stored(mixture(50)), settings(pad_to_multiple_of=multiple))
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
    made = {key: value.numpy() for key, value in tensors(initialised(tmp_path, model, stored(dense, fill=fill))).items()}
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
    plain = tensors(initialised(tmp_path, make("llama, untied"), stored(mixture(50))))
    (tmp_path / "scaled").mkdir()
    chosen = settings(scale={"input": 0.5, "output": 3.0})
    made = tensors(initialised(tmp_path / "scaled", make("llama, untied"), stored(mixture(50)), chosen, CATEGORIES))
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
    plain = tensors(initialised(tmp_path, model, stored(dense, fill=fill)))[LLAMA]
    (tmp_path / "matched").mkdir()
    chosen = settings(norm_matching=how, scale={"input": 2, "output": 2})
    made = tensors(initialised(tmp_path / "matched", model, stored(dense, fill=fill), chosen, CATEGORIES))[LLAMA]
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
    made = tensors(initialised(tmp_path, model, stored(dense), settings(norm_matching="mean"), CATEGORIES))[LLAMA]
    assert not made[20].any()


def test_one_matrix_has_one_scale(tmp_path):
    chosen = settings(scale={"input": 1, "output": 2})
    with pytest.raises(ConfigurationError, match=r"(?s)initialisation\.scale.*input 1, output 2.*untie"):
        initialised(tmp_path, make("llama, tied"), stored(mixture(50)), chosen, CATEGORIES)
    (tmp_path / "untied").mkdir()
    chosen = settings(scale={"input": 1, "output": 2}, untie=True)
    made = tensors(initialised(tmp_path / "untied", make("llama, tied"), stored(mixture(50)), chosen, CATEGORIES))
    torch.testing.assert_close(made["lm_head.weight"][10:], 2 * made[LLAMA][10:])


@pytest.mark.parametrize("categories", [None, CATEGORIES[:-1]])
def test_lengths_need_the_table_of_the_same_alignment(tmp_path, categories):
    with pytest.raises(ArtefactError, match="table of tokens does not belong"):
        initialised(tmp_path, make("llama, tied"), stored(mixture(50)), settings(norm_matching="mean"), categories)


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
    record = json.loads((tmp_path / "out/initialisation.json").read_text())
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
    with pytest.raises(ArtefactError, match="one row per target id"):
        read_categories(tmp_path / "t.parquet")
    (tmp_path / "t.parquet").write_bytes(b"x")
    for path in (tmp_path / "t.parquet", tmp_path / "none.parquet"):
        with pytest.raises(ArtefactError, match="no readable table"):
            read_categories(path)


# ------------------------------------------------------------------------------------------------------- configuration


def test_special_ids(tmp_path):
    """Ids of the old tokenizer are gone from the configuration and from generation, also where the new one has none."""
    model = make("llama, tied")
    for config in (model.config, model.generation_config):
        config.bos_token_id, config.eos_token_id, config.pad_token_id = 31, 32, 33
    made = load_model(initialised(tmp_path, model, stored(mixture(50)), roles={"eos": 1}))
    assert (made.config.bos_token_id, made.config.eos_token_id, made.config.pad_token_id) == (None, 1, None)
    generation = made.generation_config
    assert (generation.bos_token_id, generation.eos_token_id, generation.pad_token_id) == (None, 1, 1)


def test_generation_ends_at_the_end_of_a_turn_too():
    config, generation = LlamaConfig(**SMALL), GenerationConfig()
    set_special_ids(config, generation, {"eos": 1, "turn_end": 6, "pad": 2})
    assert generation.eos_token_id == [1, 6]
    assert generation.pad_token_id == 2
    assert config.eos_token_id == 1
    set_special_ids(config, generation, {"eos": 6, "turn_end": 6})
    assert generation.eos_token_id == 6


def test_generation_settings_are_kept_but_those_with_ids_of_the_old_tokenizer(tmp_path, caplog):
    model = make("llama, tied")
    model.generation_config.suppress_tokens = [39]
    model.generation_config.forced_bos_token_id = 38
    model.generation_config.max_length = 77
    with caplog.at_level(logging.WARNING):
        made = load_model(initialised(tmp_path, model, stored(mixture(50))))
    assert made.generation_config.suppress_tokens is None
    assert made.generation_config.forced_bos_token_id is None
    assert made.generation_config.max_length == 77
    assert "suppress_tokens named ids of the old tokenizer" in caplog.text


def test_dtype_is_recorded_where_the_configuration_has_none(tmp_path):
    make("llama, tied", torch.bfloat16).save_pretrained(tmp_path / "source")
    config = json.loads((tmp_path / "source/config.json").read_text())
    assert config.pop("dtype") == "bfloat16"
    (tmp_path / "source/config.json").write_text(json.dumps(config))
    out = initialised(tmp_path, tmp_path / "source", stored(mixture(50)))
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"


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
    initialised(plain, model, stored(mixture(50)), settings(untie=untie, pad_to_multiple_of=8))
    chosen = settings(untie=untie, pad_to_multiple_of=8)
    record = initialise(plain / "source", made, stored(mixture(50)), None, ROLES, chosen, rows)
    assert record["fitted"] == {"rows": 3, "vocabulary_size": 50, "tied": tied}
    before, after = load_model(plain / "initialised"), load_model(made)
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
    with pytest.raises(ArtefactError, match=message):
        initialise(tmp_path / "source", tmp_path / "made", stored(mixture(50)), None, ROLES, settings(), rows)


# -------------------------------------------------------------------------------------------------------------- errors


def test_model_with_fewer_rows_than_the_alignment_has_source_tokens(tmp_path):
    with pytest.raises(InputError, match=r"(?s)do not fit\n  found:    40 embedding rows\n  expected: at least the 41 ids"):
        initialised(tmp_path, make("llama, tied"), stored(np.ones((5, 41)) / 41))


def test_row_that_is_not_finite_is_named(tmp_path):
    """Rows of 1e5 are infinite in float16."""
    model, dense = make("llama, tied"), mixture(50)
    dense[33] = 0
    dense[33, 5] = 1e6
    with pytest.raises(ArtefactError, match=r"model\.safetensors: model\.embed_tokens\.weight: the new row of token 33 is not"):
        initialised(tmp_path, model.to(torch.float16), stored(dense))


def test_model_without_lm_head():
    with pytest.raises(InputError, match="LlamaModel: get_output_embeddings"):
        embeddings(LlamaModel(LlamaConfig(**SMALL)))


def test_folders_that_hold_no_model(tmp_path):
    with pytest.raises(ArtefactError, match="not a loadable causal language model"):
        load_model(tmp_path)
    make("llama, tied").save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    pickled = tmp_path / "pytorch_model.bin"
    torch.save({}, pickled)
    weights.unlink()
    with pytest.raises(ArtefactError, match="not a loadable causal language model"):
        load_model(tmp_path)  # never unpickled


@pytest.mark.parametrize("length", [0, 5, 4000])
def test_truncated_weights(tmp_path: Path, length):
    make("llama, tied").save_pretrained(tmp_path / "source")
    weights = tmp_path / "source/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:length])
    with pytest.raises(ArtefactError, match="not a loadable causal language model"):
        load_model(tmp_path / "source")
    with pytest.raises(InputError, match=r"model\.safetensors"):
        initialised(tmp_path, tmp_path / "source", stored(mixture(50)))


@pytest.mark.parametrize(
    ("name", "key"),
    [("llama, untied", "lm_head.weight"), ("llama, tied", LLAMA), ("phi, LM head with bias", "lm_head.bias")],
)
def test_missing_weights(tmp_path: Path, name, key):
    """A checkpoint that lacks a matrix must not get a random one in its place."""
    make(name).save_pretrained(tmp_path / "source")
    resave(tmp_path / "source", lambda weights: weights.pop(key))
    with pytest.raises(ArtefactError, match=r"weights are missing[\s\S]*" + key.split(".")[-2]):
        load_model(tmp_path / "source")
    with pytest.raises(ArtefactError, match=f"source: the weights lack [\\s\\S]*{key}"):
        initialised(tmp_path, tmp_path / "source", stored(mixture(50)))


def test_embedding_of_another_shape_than_the_configuration_says(tmp_path):
    make("llama, tied").save_pretrained(tmp_path / "source")
    resave(tmp_path / "source", lambda weights: weights.update({LLAMA: weights[LLAMA][:39].clone()}))
    with pytest.raises(
        ArtefactError, match=r"model\.embed_tokens\.weight \[39, 16\]\n  expected: one tensor of shape \[40, 16\]"
    ):
        initialised(tmp_path, tmp_path / "source", stored(mixture(50)))


def test_embedding_in_integers(tmp_path):
    make("llama, tied").save_pretrained(tmp_path / "source")
    resave(tmp_path / "source", lambda weights: weights.update({LLAMA: weights[LLAMA].to(torch.int8)}))
    with pytest.raises(
        ArtefactError, match=r"model\.embed_tokens\.weight is not an embedding that can be combined\n  found:    I8"
    ):
        initialised(tmp_path, tmp_path / "source", stored(mixture(50)))


def test_folder_without_configuration(tmp_path):
    (tmp_path / "source").mkdir()
    with pytest.raises(ArtefactError, match=r"config\.json: describes no causal language model"):
        initialised(tmp_path, tmp_path / "source", stored(mixture(50)))


def test_dtype_of_the_checkpoint_is_kept(tmp_path):
    make("llama, tied").to(torch.bfloat16).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    assert load_model(tmp_path).dtype == torch.bfloat16
    assert load_model(tmp_path, dtype=torch.float32).dtype == torch.float32
