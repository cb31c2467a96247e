"""The leaderboard of initial models: bits per byte of all methods and peers, before and after a few steps.

    python benchmarks/initialization/run.py --model FOLDER --tokenizers qwen2=FOLDER gpt-neox=FOLDER \
        --corpus office:en=en.jsonl code:python=code.jsonl --work FOLDER --output benchmarks/results/initialization.json

It runs this project's workflow in a separate folder, so that everything is shared and an interrupted run continues.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import ROOT, command_line, run, script, write_result
from tokalign.common.errors import InputError
from tokalign.common.files import read_json

SOURCE = "source"
"""Name of the blocks of the model and its tokenizer."""


def pair(text: str) -> tuple[str, str]:
    """Parse NAME=VALUE."""
    name, _, value = text.partition("=")
    if not name or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of the source model, with its tokenizer")
    parser.add_argument("--eos", help="its end-of-text token, if its folder names another")
    parser.add_argument("--tokenizers", type=pair, nargs="+", required=True, metavar="NAME=FOLDER", help="target tokenizers")
    parser.add_argument("--corpus", type=pair, nargs="+", required=True, metavar="DOMAIN:LANGUAGE=FILE", help="JSONL files")
    parser.add_argument("--bytes", type=int, default=40_000_000, help="bytes of the corpus to use")
    parser.add_argument("--methods", nargs="+", help="alignments of board.yaml; default: all")
    parser.add_argument("--trained", nargs="*", default=[], help="methods, and peers as TARGET/NAME, to train with stage 1")
    parser.add_argument("--peers", type=pair, nargs="*", default=[], metavar="TARGET/NAME=FOLDER", help="checkpoints of peers")
    parser.add_argument("--work", type=Path, required=True, help="folder for the workflow's results")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, required=True, help="JSON file; rows of other targets and methods in it are kept")
    return parser


def configuration(args: argparse.Namespace) -> dict[str, Any]:
    """Return the configuration of the workflow."""
    board = yaml.safe_load((Path(__file__).parent / "board.yaml").read_text(encoding="utf-8"))
    sources = {}
    for label, file in args.corpus:
        domain, _, language = label.partition(":")
        sources[f"{domain}-{language}"] = {"files": [str(Path(file).resolve())], "language": language, "domain": domain}
    own: dict[str, Any] = {"source": {"folder": str(args.model.resolve())}}
    tokenizers = {SOURCE: own | ({"special_tokens": {"eos": args.eos}} if args.eos else {})}
    tokenizers |= {name: {"source": {"folder": str(Path(folder).resolve())}} for name, folder in args.tokenizers}
    methods = args.methods or list(board["alignments"])
    unknown = set(methods) - set(board["alignments"])
    if unknown:
        raise InputError("--methods: not in board.yaml", found=sorted(unknown), expected=", ".join(board["alignments"]))
    experiments = [
        {
            "name": name,
            "model": SOURCE,
            "tokenizer": name,
            "corpus": "board",
            "alignment": methods,
            "recipe": "stage1",
            "evaluation": "board",
            "seeds": [1],
        }
        for name, _ in args.tokenizers
    ]
    corpus = {"sources": sources, "byte_budget": args.bytes, "validation_fraction": 0.03, "shards": 2}
    return board | {
        "corpora": {"board": corpus},
        "models": {SOURCE: {**own, "tokenizer": SOURCE}},
        "tokenizers": tokenizers,
        "experiments": experiments,
    }


def workflow(args: argparse.Namespace, targets: list[str], *options: str) -> None:
    """Run the workflow for the given files."""
    command = [
        Path(sys.executable).parent / "snakemake", "--profile", ROOT / "profiles/local", "--snakefile", ROOT / "Snakefile",
        "--directory", args.work, "--configfile", args.work / "board.yaml", "--cores", str(args.threads), *targets, *options,
    ]  # fmt: skip
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    if subprocess.run(command, env=environment, check=False).returncode:
        raise InputError("the workflow failed", found="see the messages above", mend="mend the cause and run again")


def groups(result: dict[str, Any]) -> dict[str, float]:
    """Return bits per byte by group from a result of evaluate_perplexity."""
    found = [metric for metric in result["metrics"] if metric["metric"] == "bits_per_byte"]
    return {"all" if m["language"] == "all" else f"{m['domain']}-{m['language']}": m["value"] for m in found}


def main(args: argparse.Namespace) -> None:
    """Run, collect, print."""
    args.work.mkdir(parents=True, exist_ok=True)
    config = configuration(args)
    (args.work / "board.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    methods = args.methods or list(config["alignments"])
    wanted: list[tuple[str, str, str, str]] = [("", SOURCE, "source", f"models/{SOURCE}/hf")]
    for target, _ in args.tokenizers:
        for method in methods:
            place = f"{SOURCE}--{target}/board/{method}"
            wanted.append((target, method, "initialized", f"initialized/{place}"))
            if method in args.trained:
                wanted += [(target, method, stage, f"adapted/{place}/stage1/s1/{stage}") for stage in ("steps50", "steps200")]
    files = {entry: f"results/evaluations/board/perplexity/{entry[3]}.json" for entry in wanted}
    workflow(args, list(files.values()))
    rows = [
        {"target": target, "method": method, "stage": stage, "bits_per_byte": groups(read_json(args.work / file))}
        for (target, method, stage, _), file in files.items()
    ]
    tokenizers = dict(args.tokenizers)
    for label, folder in args.peers:
        target, _, name = label.partition("/")
        if target in tokenizers:
            rows += peer(args, target, name, Path(folder), config)
    print_rows(rows)
    before = read_json(args.output) if args.output.exists() else {"rows": [], "commands": []}
    kept = before["rows"]
    new = {(row["target"], row["method"], row["stage"]) for row in rows}
    kept = [row for row in kept if (row["target"], row["method"], row["stage"]) not in new]
    sample = read_json(args.work / files[wanted[0]])
    sizes = {f"{group['domain']}-{group['language']}": group["bytes"] for group in sample["groups"]}
    steps = {"steps50": "50 steps of 512 tokens", "steps200": "150 steps more, with a schedule of their own"}
    commands = [*before["commands"], command_line()]
    result = {
        "commands": list(dict.fromkeys(commands)),
        "heldout_bytes": sizes,
        "corpus_bytes": args.bytes,
        "stages": steps,
        "rows": kept + rows,
    }
    write_result(args.output, result, ["torch", "transformers", "numba", "snakemake"])


def peer(args: argparse.Namespace, target: str, name: str, folder: Path, config: dict[str, Any]) -> list[dict[str, Any]]:
    """Score a peer's checkpoint on the same documents."""
    settings = {**config["evaluations"]["board"]["perplexity"], "precision": "auto", "document_start": "eos"}
    settings["trust_remote_code"] = False
    output = args.work / f"peers/{target}/{name}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    run(
        script(
            "evaluate_perplexity",
            model=folder,
            tokenizer=args.work / f"results/tokenizers/{target}/hf",
            documents=args.work / "results/evaluations/board/documents.parquet",
            settings=settings,
            threads=args.threads,
            output=output,
        )
    )
    row = {"target": target, "method": f"peer: {name}"}
    rows = [{**row, "stage": "initialized", "bits_per_byte": groups(read_json(output))}]
    if f"{target}/{name}" in args.trained:
        rows += [
            {**row, "stage": stage, "bits_per_byte": bits} for stage, bits in trained_peer(args, target, name, folder).items()
        ]
    return rows


def trained_peer(args: argparse.Namespace, target: str, name: str, folder: Path) -> dict[str, dict[str, float]]:
    """Run stage 1 on a peer's checkpoint, put in place of the workflow's own, and score it."""
    place = f"{SOURCE}--{target}/board/peer-{name}"
    link = args.work / "results/initialized" / place
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(folder.resolve())
    stages = ("steps50", "steps200")
    files = {stage: f"results/evaluations/board/perplexity/adapted/{place}/stage1/s1/{stage}.json" for stage in stages}
    inputs = [f"results/packed/board/{target}/256/blocks.arrow", f"results/tokens/board/{target}/validation.arrow"]
    workflow(args, inputs)
    # Only these two rules; otherwise the workflow would make the checkpoint itself.
    workflow(args, list(files.values()), "--allowed-rules", "train_stage", "evaluate_perplexity")
    return {stage: groups(read_json(args.work / file)) for stage, file in files.items()}


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Print the leaderboard, best first."""
    names = list(rows[0]["bits_per_byte"])
    print(f"{'target':12} {'method':32} {'stage':12}", *(f"{name:>12}" for name in names))
    for row in sorted(rows, key=lambda row: (row["target"], row["stage"], row["bits_per_byte"]["all"])):
        values = (f"{row['bits_per_byte'][name]:12.3f}" for name in names)
        print(f"{row['target']:12} {row['method']:32} {row['stage']:12}", *values)


if __name__ == "__main__":
    try:
        main(arguments().parse_args())
    except InputError as error:
        sys.exit(str(error))
