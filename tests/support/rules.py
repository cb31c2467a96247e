"""The text of the rules."""

from __future__ import annotations

import re

from support.project import ROOT

HEAD = re.compile(r"(?:rule (\w+)|use rule (\w+) as (\w+) with):\n(.*)", re.DOTALL)


def rules() -> dict[str, str]:
    """Return the text of each rule by name, without its first line, followed by the text of a rule that it uses."""
    found: dict[str, str] = {}
    for path in (ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))):
        blocks = re.split(r"^(?=\S)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        for match in filter(None, map(HEAD.fullmatch, blocks)):
            name, used, own, text = match.groups()
            found[name or own] = text + (found[used] if used else "")
    return found


RULES = rules()
COMMANDS = {name: text for name, text in RULES.items() if "    shell:" in text}
"""The rules that start a command."""
STARTED_BY = {"training/launch_training.py": "training/train_stage.py"}
"""Commands that start another command."""


def script_of(rule: str) -> str:
    """Return the path of the command that a rule runs, below commands/."""
    text = COMMANDS[rule]
    (name,) = re.findall(r"/(\w+/[\w{}.]+\.py)\b", text.split("    shell:")[1])
    name = name.replace("{params.command}", "".join(re.findall(r'command="(\w+)"', text)[:1]))
    return STARTED_BY.get(name, name)
