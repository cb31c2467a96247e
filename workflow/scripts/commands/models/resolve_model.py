"""Make a model loadable from one folder and describe it, without loading its weights."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli
from tokalign.common.files import read_json, write_json
from tokalign.config.models import ModelSettings
from tokalign.fetch.sources import locate
from tokalign.models.resolve import resolve_model


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = cli.parser(__doc__)
    cli.add_settings(parser, ModelSettings)
    parser.add_argument("--fetched", type=Path, help="folder of the fetch rule, for wheels and hub repositories")
    parser.add_argument("--tokenizer-info", type=Path, required=True, help="info.json of the model's tokenizer")
    parser.add_argument("--hf", type=Path, required=True, help="folder for AutoModelForCausalLM.from_pretrained")
    parser.add_argument("--info", type=Path, required=True, help="JSON: architecture, embedding rows, files")
    return parser


def main(args: argparse.Namespace) -> None:
    """Resolve one model."""
    settings, source = args.settings, args.settings.source.plain()
    located = locate(source, args.fetched)
    tokenizer_info = read_json(args.tokenizer_info)
    info = resolve_model(located, source, settings.trust_remote_code, tokenizer_info, args.hf)
    write_json(args.info, info | {"license": settings.license})


if __name__ == "__main__":
    cli.run(main, arguments())
