"""Draw the training text that peers with a corpus get: JSONL, one `{"text": ...}` a line, the end of each file held out."""

from __future__ import annotations

import argparse
import json
import math
import random
from pathlib import Path


def lines_of(path: Path, hold_out: float) -> list[str]:
    """Return the output lines of a JSONL file's documents, but for the share ``hold_out`` at its end (rounded up)."""
    with path.open(encoding="utf-8") as file:
        lines = [json.dumps({"text": json.loads(line)["text"]}, ensure_ascii=False) + "\n" for line in file]
    return lines[: len(lines) - math.ceil(len(lines) * hold_out)]


def sample(lines: list[str], share: float, seed: int) -> list[str]:
    """Draw a share of the lines, in their order."""
    kept = random.Random(seed).sample(range(len(lines)), round(share * len(lines)))
    return [lines[index] for index in sorted(kept)]


def main() -> None:
    """Sample the same share of each file's documents, so that about ``--bytes`` are written, and print what was taken."""
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
