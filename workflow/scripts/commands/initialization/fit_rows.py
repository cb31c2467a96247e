"""Fit rows to the model: merged rows for tokens it never had, and a calibrated head."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli
from tokalign.config.alignments import FitRowsSettings


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = cli.parser(__doc__)
    parser.add_argument("--model", type=Path, required=True, help="resolved source model")
    parser.add_argument("--alignment", type=Path, required=True, help="matrix of the alignment")
    parser.add_argument("--tokens", type=Path, required=True, help="its tokens.parquet")
    for side in ("source", "target"):
        parser.add_argument(f"--{side}-tokenizer", type=Path, required=True, help="resolved tokenizer folder")
        parser.add_argument(f"--{side}-vocabulary", type=Path, required=True, help="its vocabulary.parquet")
    parser.add_argument("--shards", type=Path, nargs="+", required=True, help="token shards of the target tokenizer")
    cli.add_settings(parser, FitRowsSettings)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--output", type=Path, required=True, help="safetensors file to write")
    return parser


def main(args: argparse.Namespace) -> None:
    """Fit and write."""
    import torch
    from tokalign.alignment.align import Side
    from tokalign.alignment.matrix import read_alignment
    from tokalign.alignment.table import read_categories
    from tokalign.initialization.fit import fit_rows
    from tokalign.initialization.fitted_rows import write_fitted

    torch.set_num_threads(args.threads)
    target = Side.read(args.target_tokenizer, args.target_vocabulary)
    source = Side.read(args.source_tokenizer, args.source_vocabulary)
    fitted = fit_rows(
        args.model,
        target,
        source,
        read_alignment(args.alignment),
        read_categories(args.tokens),
        args.shards,
        args.settings.fit,
        args.settings.initialization,
        threads=args.threads,
        trust_remote_code=args.settings.trust_remote_code,
    )
    write_fitted(args.output, fitted)


if __name__ == "__main__":
    cli.run(main, arguments())
