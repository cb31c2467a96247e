"""Draw the training text for peers with a corpus: JSONL, one `{"text": ...}` per line, the end of each file held out."""

from __future__ import annotations

import argparse
import json
import math
import random
from pathlib import Path


def lines_of(path: Path, hold_out: float) -> list[str]:
    """Return the output lines of a JSONL file's documents, without the last share ``hold_out`` (rounded up)."""
    with path.open(encoding="utf-8") as file:
        lines = [json.dumps({"text": json.loads(line)["text"]}, ensure_ascii=False) + "\n" for line in file]
    return lines[: len(lines) - math.ceil(len(lines) * hold_out)]


def sample(lines: list[str], share: float, seed: int) -> list[str]:
    """Draw a share of the lines, in their order."""
    kept = random.Random(seed).sample(range(len(lines)), round(share * len(lines)))
    return [lines[index] for index in sorted(kept)]


def main() -> None:
    """Sample the same share of each file's documents, about ``--bytes`` in total, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=Path, nargs="+", required=True, help="JSONL files with a `text` on each line")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--bytes", type=int, required=True, help="about how many bytes to write")
    parser.add_argument("--hold-out", type=float, required=True, help="share of each file's documents, at its end, to leave out")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    files = {path: lines_of(path, arguments.hold_out) for path in sorted(arguments.files)}
    total = sum(len(line.encode()) for lines in files.values() for line in lines)
    share = min(1.0, arguments.bytes / total)
    partial = arguments.output.with_name(f".{arguments.output.name}.partial")
    with partial.open("w", encoding="utf-8") as output:
        for path, lines in files.items():
            kept = sample(lines, share, arguments.seed)
            output.writelines(kept)
            written = sum(len(line.encode()) for line in kept)
            print(f"{path.name}: {len(kept)} of the first {len(lines)} documents, {written} bytes")
    partial.rename(arguments.output)


if __name__ == "__main__":
    main()
