"""The chunked loss: equal to the whole one, with its gradients, for every architecture; and never as large."""

from __future__ import annotations

import copy

import pytest
import torch
from support.models import CONFIGS, IDS, make
from tokalign.common.errors import ConfigurationError
from tokalign.models.lm_head import LogitScaling, explains_logits
from tokalign.training.losses import chunked
from tokalign.training.losses.chunked import IGNORED, chunked_cross_entropy, install, uninstall
from tokalign.training.policies import LoraSettings, select_parameters
from torch.nn import functional
from transformers import CohereConfig, CohereForCausalLM, GraniteConfig, GraniteForCausalLM, PreTrainedModel

SMALL = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SCALED = {
    "cohere": lambda: CohereForCausalLM(CohereConfig(**SMALL, logit_scale=0.25)),
    "granite": lambda: GraniteForCausalLM(GraniteConfig(**SMALL, logits_scaling=3.0)),
}


@pytest.mark.parametrize("chunk_bytes", [1, 4 * 30 * 3, 1 << 20])
@pytest.mark.parametrize("scaling", [LogitScaling(1.0, None), LogitScaling(0.5, None), LogitScaling(2.0, 3.0)])
@pytest.mark.parametrize("biased", [False, True])
def test_equals_the_whole_loss(chunk_bytes, scaling, biased):
    """Value and gradients are those of softmax and cross-entropy in float64, whatever the size of the chunks."""
    generator = torch.Generator().manual_seed(1)
    hidden, weight, bias = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((17, 8), (30, 8), (30,)))
    labels = torch.randint(0, 30, (17,), generator=generator)
    labels[[0, 5, 16]] = IGNORED
    sides = []
    for kind in (torch.float64, torch.float32):
        inputs = [x.detach().clone().to(kind).requires_grad_() for x in (hidden, weight, bias)]
        if kind == torch.float64:
            logits = scaling.factor * (inputs[0] @ inputs[1].T + (inputs[2] if biased else 0))
            logits = logits if scaling.cap is None else scaling.cap * torch.tanh(logits / scaling.cap)
            loss = functional.cross_entropy(logits, labels, reduction="sum", ignore_index=IGNORED)
        else:
            loss = chunked_cross_entropy(
                inputs[0], inputs[1], labels, bias=inputs[2] if biased else None, scaling=scaling, chunk_bytes=chunk_bytes
            )
        (3 * loss).backward()
        sides.append([loss.detach(), *(x.grad for x in inputs if x.grad is not None)])
    assert len(sides[0]) == len(sides[1]) == 3 + biased
    for expected, found in zip(*sides, strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=2e-5, atol=2e-5)


def test_what_is_frozen_gets_no_gradient():
    hidden, weight = torch.randn(5, 4), torch.randn(9, 4, requires_grad=True)
    labels = torch.arange(5)
    chunked_cross_entropy(hidden, weight, labels).backward()
    assert weight.grad is not None
    assert hidden.grad is None
    with torch.no_grad():
        assert not chunked_cross_entropy(hidden, weight, labels).requires_grad


def test_no_matrix_of_tokens_by_vocabulary(monkeypatch):
    """The largest logits that exist are those of a chunk."""
    sizes = []
    linear = functional.linear

    def watch(states, *rest):
        product = linear(states, *rest)
        sizes.append(product.numel())
        return product

    monkeypatch.setattr(chunked.functional, "linear", watch)
    chunked_cross_entropy(torch.randn(100, 4), torch.randn(50, 4), torch.randint(0, 50, (100,)), chunk_bytes=4 * 50 * 8)
    assert sizes == [50 * 8] * 12 + [50 * 4]


def model_of(name: str) -> PreTrainedModel:
    if name in SCALED:
        torch.manual_seed(0)
        return SCALED[name]().eval()
    model = make(name)
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        module.weight.data.clamp_(-2, 2)
    return model.eval()


@pytest.mark.parametrize("name", [*CONFIGS, *SCALED])
def test_model_with_chunked_loss_equals_the_model(name):
    """Loss and gradients of every architecture; logits as before; and it can be taken off again."""
    model = model_of(name).double()
    other = copy.deepcopy(model)
    ids = torch.randint(0, IDS, (3, 11), generator=torch.Generator().manual_seed(2))
    labels = ids.clone()
    labels[0, :5] = IGNORED
    assert install(other, "auto") == "chunked"
    for side in (model, other):
        side(input_ids=ids, labels=labels).loss.backward()
    torch.testing.assert_close(
        other(input_ids=ids, labels=labels).loss, model(input_ids=ids, labels=labels).loss.float(), rtol=1e-6, atol=0
    )
    for (key, parameter), twin in zip(model.named_parameters(), other.parameters(), strict=True):
        if parameter.grad is not None:
            atol = 1e-6 * float(parameter.grad.abs().max()) + 1e-9
            torch.testing.assert_close(twin.grad, parameter.grad, rtol=1e-5, atol=atol, msg=key)
    torch.testing.assert_close(other(input_ids=ids).logits, model(input_ids=ids).logits)
    uninstall(other)
    assert other.forward.__func__ is type(other).forward


def test_sum_over_a_given_number_of_tokens():
    """As Trainer accumulates: the sum over the tokens of this part, divided by the number in all parts."""
    model = model_of("llama, tied")
    install(model, "chunked")
    ids = torch.randint(0, IDS, (2, 7))
    with torch.no_grad():
        mean = model(input_ids=ids, labels=ids).loss
        assert float(model(input_ids=ids, labels=ids, num_items_in_batch=48).loss) == pytest.approx(float(mean) * 12 / 48)


class Doubled(type(make("llama, tied"))):
    """An architecture that does something to its logits which its configuration does not say."""

    def forward(self, *args, **rest):
        output = super().forward(*args, **rest)
        output.logits = 2 * output.logits
        return output


def test_unknown_logits_are_left_to_the_model():
    torch.manual_seed(0)
    model = Doubled(CONFIGS["llama, tied"])
    assert not explains_logits(model)
    assert install(model, "auto") == "plain"
    assert "forward" not in model.__dict__
    with pytest.raises(ConfigurationError, match="Doubled, whose logits are not LM head times"):
        install(model, "chunked")


def test_head_with_an_adapter_is_left_to_the_model():
    """The chunks would be made with its frozen weight, and the adapter would never get a gradient."""
    model = select_parameters(
        make("llama, untied"), "lora", lora=LoraSettings(rank=2, alpha=4.0, dropout=0.0, targets=["lm_head"], embeddings=False)
    )
    assert install(model, "auto") == "plain"
    ids = torch.arange(8)[None]
    model(input_ids=ids, labels=ids).loss.backward()
    assert float(model.lm_head.lora_B["default"].weight.grad.abs().sum()) > 0


def test_fused_kernel_needs_a_gpu():
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(ConfigurationError, match="liger-kernel"):
        install(model_of("llama, tied"), "fused")
