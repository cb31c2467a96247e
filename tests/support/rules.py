"""The text of the rules."""

from __future__ import annotations

import re

from support.project import ROOT


def rules() -> dict[str, str]:
    """Return the text of each rule by name, without its first line."""
    found = {}
    for path in (ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))):
        blocks = re.split(r"^(?=\S)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        found |= {match[1]: match[2] for block in blocks if (match := re.fullmatch(r"rule (\w+):\n(.*)", block, re.DOTALL))}
    return found


RULES = rules()
COMMANDS = {name: text for name, text in RULES.items() if "    shell:" in text}
"""The rules that start a command."""
STARTED_BY = {"training/launch_training.py": "training/train_stage.py"}
"""Commands that start another command."""


def script_of(rule: str) -> str:
    """Return the path of the command that a rule runs, below commands/."""
    (name,) = re.findall(r"/(\w+/\w+\.py)\b", COMMANDS[rule].split("    shell:")[1])
    return STARTED_BY.get(name, name)
