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


def test_text_with_markup_and_codes_that_yaml_reads_as_words():
    """Nothing is escaped as in HTML, and `no` is Norwegian, not false."""
    corpus = {"sources": {"a&b": {"language": "no"}, "code": {"language": "python", "documents": 0}}}
    card = write_model_card(labels={}, model={"license": "<other>"}, tokenizer={}, corpus=corpus, recipe={}, training={})
    head, body = card.split("---\n", 2)[1:]
    assert yaml.safe_load(head)["language"] == ["no"]
    assert "| a&b | no | unknown | unknown | unknown | unknown |" in body
    assert "| code | python | unknown | 0 | unknown | unknown |" in body
    assert "Source model: <other>." in body
    assert "How it ran" not in body
    assert body.endswith("pass this model on.\n")
