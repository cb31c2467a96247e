"""Model cards."""

import yaml
from tokalign.training.model_card import write_model_card


def test_front_matter_and_content():
    card = write_model_card(
        labels={"model": "m", "tokenizer": "t", "stage": "s", "seed": 1},
        model={"architecture": "LlamaForCausalLM", "parameters": 10, "source": {"hub": "a/b", "license": "Apache-2.0"}},
        tokenizer={"size": 7, "roles": {"eos": 0}, "sha256": "0" * 64, "source": {"path": "x|y"}},
        corpus={"documents": 3, "bytes": 99, "sources": {"web": {"language": "de", "domain": "d", "documents": 3, "bytes": 99,
                                                                 "license": "CC-BY-4.0"}}},
        recipe={"steps": 5, "learning_rate": 0.001},
        training={"precision": "float32", "fingerprint": {"x": 1}},
    )  # fmt: skip
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["license"] == "apache-2.0"
    assert head["base_model"] == "a/b"
    assert head["language"] == ["de"]
    assert "| web | de | d | 3 | 99 | CC-BY-4.0 |" in card
    assert "| learning_rate | 0.001 |" in card
    assert "x\\|y" in card
    assert "fingerprint" not in card
    assert "Tokenizer: unknown" in card


def test_what_is_not_known_is_said():
    card = write_model_card(labels={}, model={}, tokenizer={}, corpus={}, recipe={}, training={})
    assert yaml.safe_load(card.split("---\n")[1])["license"] == "unknown"
    assert "| architecture | unknown |" in card
