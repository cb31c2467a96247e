"""Fitted rows against brute force: rows by least squares in float64, biases by the initialized model itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from commands.initialization import fit_rows as fit_rows_script
from commands.initialization import initialize_model
from support.models import CONFIGS, DEFAULTS, tensors
from support.models import settings as initialization
from support.project import WORDS, write_tokenizer
from support.settings import altered
from support.shards import write_shard
from tokalign.alignment.align import Side, align
from tokalign.alignment.matrix import Alignment, StoredAlignment, read_alignment, write_alignment
from tokalign.alignment.methods.registry import METHODS
from tokalign.alignment.table import TWINS
from tokalign.common.errors import ArtifactError, ConfigurationError
from tokalign.config.alignments import FitSettings, InitializationSettings
from tokalign.initialization.fit import fit_rows
from tokalign.initialization.fitted_rows import FittedRows, read_fitted, write_fitted
from tokalign.initialization.head_calibration import sample_documents
from tokalign.initialization.initialize import initialize
from tokalign.initialization.piece_regression import examples, merge_parents
from tokalign.models.loading import load_model
from tokalign.tokenizers.loading import load_tokenizer
from tokalign.tokenizers.vocabulary import describe, write_vocabulary
from transformers import AutoModelForCausalLM, AutoTokenizer

FIT = FitSettings(
    layers=1,
    ridge=20.0,
    first_piece=0.3,
    calibration_tokens=400,
    calibration_rounds=2,
    twin_bias=0.25,
    precision="float32",
    seed=1,
)
UNCALIBRATED = altered(FIT, calibration_tokens=0)
PADDED = 6
"""Rows of a model beyond its tokenizer, of numbers that would be seen anywhere."""


@dataclass(frozen=True)
class Case:
    """Two tokenizers, an alignment between them and shards of the target."""

    folder: Path
    source: Side
    target: Side
    alignment: Alignment
    documents: list[list[int]]
    shards: list[Path]

    @property
    def stored(self) -> StoredAlignment:
        return read_alignment(self.folder / "alignment.safetensors")

    @property
    def eos(self) -> int:
        return self.target.vocabulary.roles["eos"]

    def model(self, name: str) -> Path:
        """Return a random model for the source tokenizer, with layers and norms that make a difference."""
        folder = self.folder / name
        if not folder.exists():
            torch.manual_seed(0)
            size = self.source.vocabulary.size
            config = type(CONFIGS[name]).from_dict(CONFIGS[name].to_dict() | {"vocab_size": size + PADDED})
            model = AutoModelForCausalLM.from_config(config).eval()
            with torch.no_grad():
                for key, parameter in model.named_parameters():
                    parameter.normal_(1 if "norm" in key and "weight" in key else 0, 0.3)
                for module in (model.get_input_embeddings(), model.get_output_embeddings()):
                    module.weight[size:] = 1e6
            model.save_pretrained(folder)
        return folder

    def fit(self, name: str, settings: FitSettings, how: InitializationSettings | None = None) -> FittedRows:
        return fit_rows(
            self.model(name), self.target, self.source, self.stored, self.alignment.categories, self.shards, settings,
            how or initialization(), threads=1,
        )  # fmt: skip

    def initialized(self, name: str, out: Path, fitted: FittedRows | None, how: InitializationSettings | None = None) -> Path:
        out.mkdir(parents=True)
        roles = self.target.vocabulary.roles
        initialize(self.model(name), out, self.stored, self.alignment.categories, roles, how or initialization(), fitted)
        return out


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> Case:
    folder = tmp_path_factory.mktemp("fit")
    rng = np.random.default_rng(0)
    texts = {name: [" ".join(rng.choice(words.split(), 30)) for _ in range(40)] for name, words in WORDS.items()}
    write_tokenizer(folder / "source", texts["en"] + texts["de"], 370)
    write_tokenizer(folder / "target", texts["en"] + texts["ru"], 390)
    source, target = (Side(describe(t), t) for t in (load_tokenizer(folder / side) for side in ("source", "target")))
    methods = {name: METHODS[name] for name in ("special", "exact", "decomposed")}
    alignment = align(target, source, methods, {"seed": 1})
    write_alignment(alignment, folder / "alignment.safetensors", folder / "tokens.parquet", {})
    documents = [target.tokenizer(text, add_special_tokens=False)["input_ids"] for name in ("en", "ru") for text in texts[name]]
    shards = [write_shard(folder / f"{number}.arrow", documents[number::2], rows=9) for number in range(2)]
    return Case(folder, source, target, alignment, documents, shards)


def test_the_case_has_tokens_of_each_kind(case):
    names, counts = np.unique(case.alignment.categories, return_counts=True)
    assert set(names) == {"special", "exact", "decomposed"}
    assert dict(zip(names, counts, strict=True))["decomposed"] > 30
    assert case.source.vocabulary.size > 256 + 64


# ------------------------------------------------------------------------------------------------- brute-force twins


def cut_by_hand(case: Case, token: int) -> list[int]:
    """Return the pieces of a target token: the tokenizer's own, or the longest where the token is no text."""
    data, theirs = case.target.vocabulary.token_bytes[token], case.source.vocabulary
    try:
        return case.source.tokenizer(data.decode(), add_special_tokens=False)["input_ids"]
    except UnicodeDecodeError:
        pieces = []
        while data:
            known = [i for i in range(theirs.size) if theirs.kinds[i] == "text" and data.startswith(theirs.token_bytes[i])]
            pieces.append(max(known, key=lambda i: len(theirs.token_bytes[i])))
            data = data[len(theirs.token_bytes[pieces[-1]]) :]
        return pieces


def state_after_one_layer(model: torch.nn.Module, ids: list[int]) -> np.ndarray:
    """Return the state at the last token after the first layer and the last norm, in float64."""
    base = model.base_model
    norm = next(getattr(base, name) for name in ("norm", "final_layer_norm") if hasattr(base, name))
    caught = []
    hook = base.layers[0].register_forward_hook(lambda *call: caught.append(call[2]))
    with torch.no_grad():
        base(input_ids=torch.tensor([ids]))
        hook.remove()
        state = caught[0][0] if isinstance(caught[0], tuple) else caught[0]
        return norm(state)[0, -1].double().numpy() if state.dim() == 3 else norm(state)[-1].double().numpy()


def predicted_rows(case: Case, folder: Path, which: str, ids: list[int], layers: int) -> np.ndarray:
    """Return rows by least squares on the augmented system, float64 (len(ids), d)."""
    model = load_model(folder, dtype=torch.float32).eval()
    module = model.get_input_embeddings() if which == "input" else model.get_output_embeddings()
    rows = module.weight.detach().double().numpy()
    start = case.source.vocabulary.roles["eos"]

    def described(sequences: list[list[int]]) -> np.ndarray:
        found = []
        for pieces in sequences:
            parts = [rows[pieces].mean(axis=0), rows[pieces[0]], rows[pieces[-1]]]
            parts += [state_after_one_layer(model, [start, *pieces])] if layers else []
            found.append(np.concatenate([*parts, [1.0]]))
        return np.array(found)

    tokens, parts = examples(merge_parents(case.source.tokenizer, case.source.vocabulary), FIT.seed)
    x = described(parts)
    scale = x.std(axis=0, ddof=1)
    scale[-1] = 1
    size = x.shape[1]
    left = np.concatenate([x / scale, np.sqrt(FIT.ridge) * np.eye(size)])
    right = np.concatenate([rows[tokens], np.zeros((size, rows.shape[1]))])
    return described([cut_by_hand(case, i) for i in ids]) / scale @ np.linalg.lstsq(left, right, rcond=None)[0]


MODELS = [("llama, tied", False), ("llama, untied", False), ("llama, tied", True), ("gpt_neox, untied", False)]


@pytest.mark.parametrize("layers", [0, 1])
@pytest.mark.parametrize(("name", "untie"), MODELS)
def test_decomposed_rows_are_predicted_and_all_others_are_those_of_the_alignment(case, tmp_path, name, untie, layers):
    how = initialization(untie=untie)
    fitted = case.fit(name, altered(UNCALIBRATED, layers=layers), how)
    categories = case.alignment.categories
    cuts = {i: cut_by_hand(case, i) for i in np.flatnonzero(categories == "decomposed").tolist()}
    ids = [i for i, pieces in cuts.items() if len(pieces) > 1]
    assert fitted.ids.tolist() == ids
    assert not fitted.bias.any() and not fitted.direction.any()
    assert fitted.metadata["tied"] == (name == "llama, tied" and not untie)
    plain = load_model(case.initialized(name, tmp_path / "plain", None, how))
    made = load_model(case.initialized(name, tmp_path / "made", fitted, how))
    others = np.setdiff1d(np.arange(len(categories)), ids)
    rows = load_model(case.model(name)).get_output_embeddings().weight.detach().double().numpy()
    begin = rows[[cuts[i][0] for i in ids]]
    shift = 0 if fitted.metadata["tied"] else FIT.first_piece * (begin - begin.mean(axis=0))
    for which, added in (("input", 0 if not fitted.metadata["tied"] else shift), ("output", shift)):
        before, after = (getattr(model, f"get_{which}_embeddings")().weight.detach() for model in (plain, made))
        assert torch.equal(after[others], before[others])
        expected = predicted_rows(case, case.model(name), which, ids, layers) + added
        np.testing.assert_allclose(after[ids].numpy(), expected, atol=2e-4)
        assert abs(after[ids].numpy() - before[ids].numpy()).max() > 0.05


def biases_of_the_model(model: torch.nn.Module, case: Case, rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Return biases and direction from the logits and final states of the initialized model, document by document."""
    longest = min(512, model.config.max_position_embeddings - 1)
    states, logits = [], []
    caught = []
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _, given: caught.append(given[0]))
    with torch.no_grad():
        for document in sample_documents(case.shards, FIT.calibration_tokens, FIT.seed, longest):
            made = model(input_ids=torch.tensor([[case.eos, *document.tolist()]])).logits[0, :-1]
            states.append(caught.pop()[0, :-1].double().numpy())
            logits.append(made.double().numpy())
    hook.remove()
    states, logits = np.concatenate(states), np.concatenate(logits)
    cap = getattr(model.config, "final_logit_softcapping", None)
    if cap is not None:
        logits = cap * np.arctanh(logits / cap)
    size = logits.shape[1]
    counts = np.bincount([token for document in case.documents for token in document], minlength=size)
    wanted = (counts + 0.01) / (counts + 0.01).sum() * len(states)
    bias = np.zeros(size)
    for _ in range(rounds):
        moved = logits + bias
        moved = moved if cap is None else cap * np.tanh(moved / cap)
        shares = np.exp(moved - moved.max(axis=1, keepdims=True))
        got = (shares / shares.sum(axis=1, keepdims=True)).sum(axis=0)
        bias += np.log((wanted + 0.02) / (got + 0.02))
    width = states.shape[1]
    penalty = np.sqrt(1e-6 * (states**2).sum() / width) * np.eye(width)
    left, right = np.concatenate([states, penalty]), np.concatenate([np.ones(len(states)), np.zeros(width)])
    return bias, np.linalg.lstsq(left, right, rcond=None)[0]


CALIBRATED = [*MODELS, ("gemma2, tied", False), ("phi, LM head with bias", False), ("gpt2, tied", False), ("opt, tied", False)]


@pytest.mark.parametrize(("name", "untie"), CALIBRATED)
def test_biases_are_those_that_the_initialized_model_needs(case, tmp_path, name, untie):
    """Whatever the architecture does: scaled input, capped logits, a head with a bias, few positions."""
    how = initialization(untie=untie)
    first = load_model(case.initialized(name, tmp_path / "first", case.fit(name, UNCALIBRATED, how), how)).eval()
    fitted = case.fit(name, FIT, how)
    bias, direction = biases_of_the_model(first, case, FIT.calibration_rounds)
    tied = fitted.metadata["tied"]
    if tied:
        twins = np.isin(case.alignment.categories, TWINS)
        bias[twins] *= FIT.twin_bias
        assert 0 < twins.sum() < len(twins)
    np.testing.assert_allclose(fitted.bias, bias, atol=5e-3)
    assert abs(bias).max() > 0.5
    np.testing.assert_allclose(fitted.direction, direction, atol=2e-3 * abs(direction).max())
    second = load_model(case.initialized(name, tmp_path / "second", fitted, how)).eval()
    rows = [model.get_output_embeddings().weight.detach().double().numpy() for model in (first, second)]
    np.testing.assert_allclose(rows[1], rows[0] + fitted.bias[:, None].astype(float) * fitted.direction, atol=1e-5)
    one, other = (model.get_input_embeddings().weight.detach() for model in (first, second))
    assert torch.equal(one, other) != tied
    before, after = (tensors(tmp_path / folder) for folder in ("first", "second"))
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert len(changed) == 1
    assert before.keys() == after.keys()


def test_other_treatments_of_rows_come_before_the_fit(case, tmp_path):
    """Lengths are matched, the fitted rows are not, and the head is calibrated as it will be."""
    how = initialization(norm_matching="mean", scale={"input": 2, "output": 2}, pad_to_multiple_of=64)
    name = "llama, untied"
    first = case.initialized(name, tmp_path / "first", case.fit(name, UNCALIBRATED, how), how)
    fitted, plain = case.fit(name, FIT, how), case.fit(name, FIT)
    assert np.array_equal(fitted.input, plain.input)
    assert np.array_equal(fitted.output, plain.output)
    model = load_model(first).eval()
    size = case.target.vocabulary.size
    assert torch.equal(model.get_input_embeddings().weight[torch.from_numpy(fitted.ids)], torch.from_numpy(fitted.input))
    assert model.config.vocab_size % 64 == 0
    model.resize_token_embeddings(size)  # padding rows take no part in the fit
    np.testing.assert_allclose(fitted.bias, biases_of_the_model(model, case, FIT.calibration_rounds)[0], atol=5e-3)


# ------------------------------------------------------------------------------------------------------ files, errors


def run_commands(case: Case, name: str, out: Path) -> Path:
    """Fit and initialize by the two commands, as the rules do."""
    write_vocabulary(case.source.vocabulary, case.folder / "source.parquet")
    write_vocabulary(case.target.vocabulary, case.folder / "target.parquet")
    (case.folder / "info.json").write_text(json.dumps({"roles": case.target.vocabulary.roles}))
    how = {**DEFAULTS, "ablation": {"kind": "none", "share": 1, "seed": 1}}
    files = {
        "model": case.model(name), "alignment": "alignment.safetensors", "tokens": "tokens.parquet",
        "source-tokenizer": "source", "source-vocabulary": "source.parquet",
        "target-tokenizer": "target", "target-vocabulary": "target.parquet",
        "output": out / "rows.safetensors",
    }  # fmt: skip
    words = [word for option, file in files.items() for word in (f"--{option}", str(case.folder / file))]
    block = {"fit": vars(FIT), "initialization": how, "trust_remote_code": False}
    threads = torch.get_num_threads()
    words += ["--shards", *map(str, case.shards), "--settings", json.dumps(block)]
    fit_rows_script.main(fit_rows_script.arguments().parse_args(words))
    torch.set_num_threads(threads)
    files = {
        "model": case.model(name), "alignment": "alignment.safetensors", "fitted": out / "rows.safetensors",
        "tokenizer": "target", "tokenizer-info": "info.json", "output": out / "initialized",
    }  # fmt: skip
    words = [word for option, file in files.items() for word in (f"--{option}", str(case.folder / file))]
    words += ["--settings", json.dumps({**how, "trust_remote_code": False})]
    initialize_model.main(initialize_model.arguments().parse_args(words))
    return out


def test_commands_write_the_same_bytes_twice_and_a_model_that_loads(case, tmp_path):
    one, other = (run_commands(case, "llama, tied", tmp_path / number) for number in ("1", "2"))
    assert (one / "rows.safetensors").read_bytes() == (other / "rows.safetensors").read_bytes()
    files = sorted(path.name for path in (one / "initialized").iterdir())
    assert {"model.safetensors", "config.json", "initialization.json", "tokenizer.json"} <= set(files)
    assert all((one / "initialized" / file).read_bytes() == (other / "initialized" / file).read_bytes() for file in files)
    fitted, again = case.fit("llama, tied", FIT), read_fitted(one / "rows.safetensors")
    for field in ("ids", "input", "output", "bias", "direction"):
        # this process may have another number of threads than the command, which changes the order of sums
        np.testing.assert_allclose(getattr(again, field), getattr(fitted, field), rtol=1e-4, atol=1e-5, strict=True)
    assert again.metadata == pytest.approx(fitted.metadata, rel=1e-4)
    record = json.loads((one / "initialized/initialization.json").read_text())
    assert record["fitted"] == {"rows": len(again.ids), **again.metadata}
    assert fitted.metadata["calibration_tokens"] >= FIT.calibration_tokens
    model, found = AutoModelForCausalLM.from_pretrained(one / "initialized", output_loading_info=True)
    assert not any(map(len, (found["missing_keys"], found["unexpected_keys"], found["mismatched_keys"])))
    tokenizer = AutoTokenizer.from_pretrained(one / "initialized")
    assert model(**tokenizer("это модель", return_tensors="pt")).logits.isfinite().all()


def test_seed_of_the_fit_counts(case):
    one, other = (case.fit("llama, tied", altered(FIT, seed=seed)) for seed in (1, 2))
    assert not np.array_equal(one.input, other.input)
    assert not np.array_equal(one.bias, other.bias)


@pytest.mark.parametrize("kind", ["shuffle", "permutation", "random_all", "random_aug"])
def test_no_fit_to_rows_that_an_ablation_replaces(case, kind):
    with pytest.raises(ConfigurationError, match=f"(?s)fit and an ablation.*found: +ablation {kind}\n  to mend: +remove one"):
        case.fit("llama, tied", FIT, initialization(kind))


def test_vocabulary_with_few_examples_keeps_the_rows_of_the_alignment(case, caplog, monkeypatch):
    monkeypatch.setattr("tokalign.initialization.fit.FEWEST_EXAMPLES", 10**6)
    fitted = case.fit("llama, untied", FIT)
    assert len(fitted.ids) == len(fitted.input) == len(fitted.output) == 0
    assert fitted.bias.any()
    assert "tokens of the model can be cut: rows stay as the alignment makes them" in caplog.text


def test_alignment_without_decomposed_rows_is_calibrated_only(case, caplog):
    methods = {name: METHODS[name] for name in ("special", "exact", "random")}
    alignment = align(case.target, case.source, methods, {"seed": 1})
    out = case.folder / "random.safetensors"
    write_alignment(alignment, out, case.folder / "random.parquet", {})
    fitted = fit_rows(
        case.model("llama, untied"), case.target, case.source, read_alignment(out), alignment.categories, case.shards, FIT,
        initialization(), threads=1,
    )  # fmt: skip
    assert len(fitted.ids) == 0
    assert fitted.bias.any()
    assert "can be cut" not in caplog.text


def sample_rows(**changes) -> FittedRows:
    parts = {
        "ids": np.array([2, 5]), "input": np.ones((2, 4), np.float32), "output": np.zeros((2, 4), np.float32),
        "bias": np.arange(7, dtype=np.float32), "direction": np.ones(4, np.float32),
        "metadata": {"vocabulary_size": 7, "tied": False},
    }  # fmt: skip
    return FittedRows(**{**parts, **changes})


def test_fitted_rows_come_back(tmp_path):
    write_fitted(tmp_path / "rows.safetensors", sample_rows())
    again = read_fitted(tmp_path / "rows.safetensors")
    for field, value in vars(sample_rows()).items():
        np.testing.assert_array_equal(getattr(again, field), value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": np.array([2, 7])}, "arrays that do not fit together"),
        ({"ids": np.array([-1, 2])}, "arrays that do not fit together"),
        ({"ids": np.array([2])}, "arrays that do not fit together"),
        ({"bias": np.zeros(6, np.float32)}, "arrays that do not fit together"),
        ({"direction": np.zeros(3, np.float32)}, "arrays that do not fit together"),
        ({"output": np.zeros((2, 3), np.float32)}, "arrays that do not fit together"),
        ({"input": np.full((2, 4), np.nan, np.float32)}, "input is not finite"),
        ({"bias": np.full(7, np.inf, np.float32)}, "bias is not finite"),
        ({"bias": np.zeros(7)}, "other arrays"),
        ({"metadata": {"vocabulary_size": 7}}, "other metadata"),
    ],
)
def test_damaged_files_are_refused(tmp_path, changes, message):
    write_fitted(tmp_path / "rows.safetensors", sample_rows(**changes))
    with pytest.raises(ArtifactError, match=rf"rows\.safetensors: {message}"):
        read_fitted(tmp_path / "rows.safetensors")
