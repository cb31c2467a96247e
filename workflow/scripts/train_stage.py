"""Train one stage of a recipe, or continue it where an interruption left it.

The state lies in --state until the stage is finished; then the checkpoint appears at --output and the state is removed.
Exit status 75 means: stopped in time (signal or time limit), run the same command again to continue.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

import torch
from tokalign import cli
from tokalign.device import choose_precision
from tokalign.files import atomic_directory, read_json, sha256_file, write_json
from tokalign.initialisation import load_model
from tokalign.model_card import write_model_card
from tokalign.packing import PackedBlocks
from tokalign.tokens import load_tokenizer
from tokalign.training import StageSettings, check_fingerprint, exclusive, fingerprint, finished_model, train_stage
from tokalign.versions import VERSIONS

STARTUP_SECONDS = 60
"""What a cluster job has used of its time before this script starts: Snakemake starts twice in it."""


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = cli.parser(__doc__)
    parser.add_argument("--model", type=Path, required=True, help="checkpoint to start from")
    parser.add_argument("--blocks", type=Path, required=True, help="packed training blocks")
    parser.add_argument(
        "--settings",
        type=cli.settings,
        required=True,
        help="a stage of a recipe but for save_steps, log_steps and gpus; and trust_remote_code",
    )
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--used-sequences", type=int, required=True, help="sequences that earlier stages trained on")
    parser.add_argument("--save-steps", type=int, required=True, help="steps between two saved states")
    parser.add_argument("--log-steps", type=int, required=True, help="steps between two lines of metrics")
    parser.add_argument("--minutes", type=float, help="time limit of the job")
    parser.add_argument("--labels", type=cli.settings, required=True, help="names of the blocks, for the model card")
    parser.add_argument("--model-info", type=Path, required=True, help="info.json of the source model")
    parser.add_argument("--tokenizer-info", type=Path, required=True, help="info.json of the new tokenizer")
    parser.add_argument("--corpus-manifest", type=Path, required=True, help="manifest.json of the training corpus")
    parser.add_argument("--state", type=Path, required=True, help="working folder")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True, help="folder of the finished checkpoint")
    return parser


def main(args: argparse.Namespace) -> None:
    """Train, publish, clean up."""
    started = time.monotonic()
    deadline = None if args.minutes is None else started + 60 * args.minutes - STARTUP_SECONDS
    torch.set_num_threads(args.threads)
    chosen = dict(args.settings)
    trust = chosen.pop("trust_remote_code")
    settings = StageSettings(**chosen, save_steps=args.save_steps, log_steps=args.log_steps)
    digests = {file.name: sha256_file(file) for file in sorted(args.model.glob("*.safetensors"))}
    print_of = fingerprint(
        digests | {"config.json": sha256_file(args.model / "config.json"), "blocks": sha256_file(args.blocks)},
        settings,
        args.seed,
        args.used_sequences,
        VERSIONS["training"],
    )
    with exclusive(args.state.with_name(args.state.name + ".lock")):
        finished = args.output / "training.json"
        if finished.exists() and read_json(finished)["fingerprint"] == print_of:
            return  # a process that outlived its workflow finished this training while we waited for it
        args.state.mkdir(parents=True, exist_ok=True)
        check_fingerprint(args.state, print_of)
        model = load_model(args.model, dtype=torch.float32, trust_remote_code=trust)
        dtype = load_dtype(args.model)
        metrics = train_stage(
            model,
            PackedBlocks.open(args.blocks),
            settings,
            seed=args.seed,
            used=args.used_sequences,
            state=args.state,
            deadline=deadline,
        )
        summary = {
            "fingerprint": print_of,
            "labels": args.labels,
            "precision": choose_precision(settings.precision),
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            "threads": args.threads,
        }
        with atomic_directory(args.output) as folder:
            finished_model(model, dtype).save_pretrained(folder)
            load_tokenizer(args.model).save_pretrained(folder)
            shutil.copyfile(metrics, folder / "metrics.jsonl")
            write_json(folder / "training.json", summary)
            card = write_model_card(
                labels=args.labels,
                model=read_json(args.model_info),
                tokenizer=read_json(args.tokenizer_info),
                corpus=read_json(args.corpus_manifest),
                recipe=chosen,
                training=summary,
            )
            (folder / "README.md").write_text(card, encoding="utf-8")
        shutil.rmtree(args.state)


def load_dtype(folder: Path) -> torch.dtype:
    """Return the dtype in which a checkpoint is stored."""
    config = read_json(folder / "config.json")
    return getattr(torch, config.get("dtype") or config.get("torch_dtype") or "float32")


if __name__ == "__main__":
    cli.run(main, arguments())
