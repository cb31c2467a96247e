from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest
import torch
from gguf import GGUFWriter
from safetensors.torch import load_file, save_file
from tokalign.common.errors import ArtifactError, ConfigurationError, InputError
from tokalign.common.files import read_json
from tokalign.config.sources import BpeSettings
from tokalign.fetch.sources import Located
from tokalign.models.resolve import resolve_model
from tokalign.models.safetensors_file import read_safetensors_header, weight_files
from tokalign.tokenizers.bpe import train_bpe
from tokalign.tokenizers.gguf import SAMPLES, read_gguf_tokenizer
from tokalign.tokenizers.resolve import read_source_tokenizer, save_tokenizer, set_special_tokens
from tokalign.tokenizers.vocabulary import read_vocabulary
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GPTNeoXConfig, LlamaConfig, PreTrainedTokenizerFast

TEXTS = [
    "The quick brown fox jumps over the lazy dog 1234.\n" * 3,
    "人工智能正在改变世界 größe река",
    "def f(x):\n    return x\n",
] * 4


def save_model(folder: Path, tied: bool = True, vocabulary: int = 64, **options) -> torch.nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=vocabulary, tie_word_embeddings=tied, max_position_embeddings=32, **sizes)
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder, **options)
    return model


def resolve(folder: Path, out: Path, size: int = 60) -> dict:
    return resolve_model(Located("folder", folder), {"folder": str(folder)}, False, {"size": size}, out)


# ---------------------------------------------------------------------------------------------------------- models


@pytest.mark.parametrize("tied", [True, False])
def test_describe_a_folder(tmp_path: Path, tied):
    save_model(tmp_path / "m", tied)
    info = resolve(tmp_path / "m", tmp_path / "hf")
    # By hand: per layer 4 attention matrices 8x8, 3 MLP matrices 8x16, 2 norms of 8; final norm 8; embedding 64x8.
    parameters = 2 * (4 * 64 + 3 * 128 + 16) + 8 + 64 * 8 * (1 if tied else 2)
    weights = tmp_path / "m/model.safetensors"
    files = info.pop("files")
    assert info == {
        "architecture": "LlamaForCausalLM",
        "model_type": "llama",
        "parameters": parameters,
        "dtype": "float32",
        "hidden_size": 8,
        "embedding_rows": 64,
        "tokenizer_size": 60,
        "padded_rows": 4,
        "tied": tied,
        "max_position_embeddings": 32,
        "source": {"folder": str(tmp_path / "m")},
    }
    assert files["model.safetensors"] == {
        "bytes": weights.stat().st_size,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }
    link = tmp_path / "hf/model.safetensors"
    assert link.is_symlink()
    assert link.readlink() == weights.resolve()
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
    assert torch.equal(loaded.get_input_embeddings().weight, load_file(weights)["model.embed_tokens.weight"])


def test_gpt_neox_in_bfloat16_and_several_files(tmp_path: Path):
    config = GPTNeoXConfig(
        vocab_size=50, hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, tie_word_embeddings=False
    )
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(tmp_path / "m", max_shard_size="1KB")
    names = weight_files(tmp_path / "m")
    assert len(names) > 1
    info = resolve(tmp_path / "m", tmp_path / "hf", 50)
    assert (info["dtype"], info["embedding_rows"], info["padded_rows"], info["tied"]) == ("bfloat16", 50, 0, False)
    assert set(info["files"]) == {"config.json", *names}
    AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
    (tmp_path / "m" / names[1]).unlink()
    with pytest.raises(InputError, match=names[1]):
        resolve(tmp_path / "m", tmp_path / "hf2")


def test_truncated_weights(tmp_path: Path):
    save_model(tmp_path / "m")
    file = tmp_path / "m/model.safetensors"
    whole = file.read_bytes()
    for length in (len(whole) - 1, 100, 5):
        file.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"model\.safetensors"):
            resolve(tmp_path / "m", tmp_path / "hf")
    file.write_bytes(whole + b"x")
    with pytest.raises(InputError, match="full length"):
        resolve(tmp_path / "m", tmp_path / "hf")
    file.write_bytes(struct.pack("<Q", 4) + b"abcd")
    with pytest.raises(InputError, match="no safetensors header"):
        resolve(tmp_path / "m", tmp_path / "hf")
    assert not (tmp_path / "hf").exists()


def test_header(tmp_path: Path):
    save_file({"a": torch.zeros(2, 3), "b": torch.zeros(4, dtype=torch.bfloat16)}, tmp_path / "x.safetensors", {"format": "pt"})
    header = read_safetensors_header(tmp_path / "x.safetensors")
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in header.items()} == {"a": ("F32", (2, 3)), "b": ("BF16", (4,))}


def test_pickles_and_missing_parts_are_refused(tmp_path: Path):
    save_model(tmp_path / "m")
    weights = tmp_path / "m/model.safetensors"
    weights.rename(tmp_path / "m/pytorch_model.bin")
    with pytest.raises(InputError, match=r"pytorch_model.bin[\s\S]*safe_serialization=True"):
        resolve(tmp_path / "m", tmp_path / "hf")
    (tmp_path / "m/pytorch_model.bin").unlink()
    with pytest.raises(InputError, match="no weights"):
        resolve(tmp_path / "m", tmp_path / "hf")
    (tmp_path / "m/config.json").unlink()
    with pytest.raises(InputError, match=r"no config\.json"):
        resolve(tmp_path / "m", tmp_path / "hf")


def test_vocabulary_that_does_not_fit(tmp_path: Path):
    save_model(tmp_path / "m")
    assert resolve(tmp_path / "m", tmp_path / "hf", 64)["padded_rows"] == 0
    with pytest.raises(InputError, match="65 tokens, 64 rows"):
        resolve(tmp_path / "m", tmp_path / "hf2", 65)
    assert not (tmp_path / "hf2").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 65}, r"expected: 1 of shape \[65, 8\]"),
        ({"tie_word_embeddings": False}, r"found:    1 tensors[\s\S]*expected: 2 of shape \[64, 8\]"),
        ({"model_type": "no_such_model"}, "no causal language model"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantized"),
    ],
)
def test_configuration_that_does_not_fit_the_weights(tmp_path: Path, change, message):
    save_model(tmp_path / "m")
    config = tmp_path / "m/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    with pytest.raises(InputError, match=message):
        resolve(tmp_path / "m", tmp_path / "hf")


# ------------------------------------------------------------------------------------------------------ tokenizers


def trained() -> PreTrainedTokenizerFast:
    return train_bpe(TEXTS, BpeSettings(vocabulary_size=300, digits="individual"), {"eos": "<|endoftext|>", "pad": "<|pad|>"})


def save(tokenizer, folder: Path) -> dict:
    save_tokenizer(tokenizer, {"folder": "x"}, "mine", folder / "hf", folder / "vocabulary.parquet", folder / "info.json")
    return read_json(folder / "info.json")


def test_tokenizer_of_a_folder(tmp_path: Path):
    original = trained()
    original.save_pretrained(tmp_path / "in")
    tokenizer = read_source_tokenizer(Located("folder", tmp_path / "in"), False)
    info = save(tokenizer, tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path / "hf")
    for text in SAMPLES:
        assert again(text)["input_ids"] == original(text)["input_ids"]
    digest = hashlib.sha256((tmp_path / "hf/tokenizer.json").read_bytes()).hexdigest()
    roles = {"eos": 0, "pad": 1}
    assert info == {"size": 300, "roles": roles, "sha256": digest, "model_max_length": None, "source": {"folder": "x"}}
    assert read_vocabulary(tmp_path / "vocabulary.parquet").roles == roles


def test_the_name_of_the_model_type_does_not_change_the_ids(tmp_path: Path):
    # transformers takes the class of the model type for its own; the ids have to be those of tokenizer.json.
    original = trained()
    original.save_pretrained(tmp_path / "in")
    config = tmp_path / "in/tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"tokenizer_class": "LlamaTokenizerFast"}))
    save_model(tmp_path / "in", vocabulary=300)
    tokenizer = read_source_tokenizer(Located("folder", tmp_path / "in"), False)
    info = save(tokenizer, tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path / "hf")
    for text in SAMPLES:
        assert again(text, add_special_tokens=False)["input_ids"] == original(text)["input_ids"]
    assert info["roles"]["eos"] == 0


def test_truncation_of_the_file_is_dropped(tmp_path: Path):
    original = trained()
    original.backend_tokenizer.enable_truncation(4)
    original.save_pretrained(tmp_path / "in")
    save(read_source_tokenizer(Located("folder", tmp_path / "in"), False), tmp_path)
    assert Tokenizer.from_file(str(tmp_path / "hf/tokenizer.json")).truncation is None


def test_tokenizer_json_alone_needs_its_eos_named(tmp_path: Path):
    (tmp_path / "in").mkdir()
    trained().backend_tokenizer.save(str(tmp_path / "in/tokenizer.json"))
    tokenizer = read_source_tokenizer(Located("folder", tmp_path / "in"), False)
    with pytest.raises(InputError, match="special_tokens"):
        save(tokenizer, tmp_path)
    assert not (tmp_path / "hf").exists()
    set_special_tokens(tokenizer, {"eos": "<|endoftext|>"}, "mine")
    assert save(tokenizer, tmp_path)["roles"] == {"eos": 0}
    assert AutoTokenizer.from_pretrained(tmp_path / "hf").eos_token_id == 0


def test_special_tokens_do_not_enlarge_the_vocabulary():
    tokenizer = trained()
    with pytest.raises(ConfigurationError, match=r"pad[\s\S]*'<new>'[\s\S]*<\|endoftext\|>"):
        set_special_tokens(tokenizer, {"pad": "<new>"}, "mine")
    with pytest.raises(ConfigurationError, match="unknown role"):
        set_special_tokens(tokenizer, {"end": "<|pad|>"}, "mine")
    set_special_tokens(tokenizer, {"eos": "<|pad|>", "pad": None}, "mine")
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id, len(tokenizer)) == (1, 1, 300)


def test_a_folder_without_a_tokenizer(tmp_path: Path):
    with pytest.raises(InputError, match="no tokenizer can be loaded"):
        read_source_tokenizer(Located("folder", tmp_path), False)


def test_info_of_a_missing_step(tmp_path: Path):
    with pytest.raises(ArtifactError):
        read_json(tmp_path / "info.json")


# ------------------------------------------------------------------------------------------------------------ gguf


def write_gguf(path: Path, tokenizer: Tokenizer, pre: str, filler: int = 3, model: str = "gpt2") -> None:
    spec = json.loads(tokenizer.to_str())
    vocabulary = tokenizer.get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.get)
    types = [3 if token.startswith("<|") else 1 for token in tokens]
    for _ in range(filler):
        tokens.append(f"[PAD{len(tokens)}]")
        types.append(4)
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(77)
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(merge) for merge in spec["model"]["merges"]])
    writer.add_eos_token_id(vocabulary["<|im_end|>"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def smollm_like() -> Tokenizer:
    """A tiny tokenizer with the pre-tokenizer of SmolLM2's published tokenizer.json."""
    vocabulary = {token: i for i, token in enumerate(["<|im_end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("1", "2"), ("Ġ", "Ġ"), ("o", "x")]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|im_end|>"])
    return tokenizer


def test_gguf_gives_the_ids_of_the_original(tmp_path: Path):
    original = smollm_like()
    write_gguf(tmp_path / "t.gguf", original, "smollm")
    tokenizer = read_gguf_tokenizer(tmp_path / "t.gguf")
    for text in (*SAMPLES, "the fox 12 the<|im_end|>the"):
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == original.encode(text).ids
    digits = tokenizer("12")["input_ids"]
    assert [tokenizer.convert_ids_to_tokens(i) for i in digits] == ["1", "2"]
    info = save(tokenizer, tmp_path)
    assert info["size"] == original.get_vocab_size() == 263  # the filler tokens are rows, not tokens
    assert info["roles"] == {"eos": 0, "turn_end": 0}
    assert info["model_max_length"] == 77


@pytest.mark.parametrize(("pre", "tokens"), [("qwen2", ["1", "2"]), ("llama-bpe", ["12"]), ("gpt-2", ["12"])])
def test_gguf_pre_tokenizers_differ_in_digits(tmp_path: Path, pre, tokens):
    write_gguf(tmp_path / "t.gguf", smollm_like(), pre)
    tokenizer = read_gguf_tokenizer(tmp_path / "t.gguf")
    assert tokenizer.convert_ids_to_tokens(tokenizer("12", add_special_tokens=False)["input_ids"]) == tokens


@pytest.mark.parametrize(("pre", "model"), [("falcon", "gpt2"), ("gpt-2", "bert")])
def test_gguf_of_unknown_type(tmp_path: Path, pre, model):
    write_gguf(tmp_path / "t.gguf", smollm_like(), pre, model=model)
    with pytest.raises(InputError, match=r"smollm[\s\S]*as a folder"):
        read_gguf_tokenizer(tmp_path / "t.gguf")


def test_gguf_sentencepiece_merges_by_score(tmp_path: Path):
    # Scores: "ab" before "bc" before "▁a", whatever the ids; the runs of spaces share one score.
    pieces = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]
    pieces += [(f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)]
    pieces += [("▁a", -9.0, 1), ("bc", -5.0, 1), ("ab", -4.0, 1), ("▁▁", -20.0, 1), ("▁▁▁▁", -20.0, 1)]
    pieces += [(letter, -100.0, 1) for letter in "▁abc"]
    writer = GGUFWriter(tmp_path / "t.gguf", "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _, _ in pieces])
    writer.add_token_scores([score for _, score, _ in pieces])
    writer.add_token_types([kind for _, _, kind in pieces])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    tokenizer = read_gguf_tokenizer(tmp_path / "t.gguf")

    def split(text: str) -> list[str]:
        return tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)["input_ids"])

    assert split("abc") == ["▁", "ab", "c"]
    assert split("a bc") == ["▁a", "▁", "bc"]
    assert split("   ") == ["▁▁▁▁"]
    assert split("é") == ["▁", "<0xC3>", "<0xA9>"]
    assert tokenizer("abc")["input_ids"][0] == 1  # the type's default: BOS before a text
    assert save(tokenizer, tmp_path)["roles"] == {"bos": 1, "eos": 2, "unk": 0}


def test_damaged_gguf(tmp_path: Path):
    write_gguf(tmp_path / "t.gguf", smollm_like(), "smollm")
    (tmp_path / "t.gguf").write_bytes((tmp_path / "t.gguf").read_bytes()[:3000])
    with pytest.raises(InputError, match="damaged"):
        read_gguf_tokenizer(tmp_path / "t.gguf")
