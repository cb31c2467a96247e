"""Tables of all keys for the documentation and the schema for editors, both generated from the configuration types."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from tokalign.common.errors import InputError
from tokalign.config.schema import json_schema, resolved

BEGIN, END = "<!-- schema:begin -->", "<!-- schema:end -->"
"""Lines before and after the tables in a page."""

UNIT = re.compile(r"\s*\[([^\[\]]+)\]$")
TYPES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}
HEADER = "# Made from the types in workflow/scripts/tokalign/config by `make docs`, for editors; do not edit.\n"
COLUMNS = ("key", "type", "unit", "default", "meaning")


@dataclass(frozen=True)
class Row:
    """A key of a block: the cells of its table row, without markup."""

    key: str
    type: str
    unit: str
    default: str
    meaning: str


def type_words(schema: dict[str, Any], root: dict[str, Any]) -> str:
    """Return the allowed types and values of a value, in words."""
    schema = resolved(schema, root)
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(type_words(choice, root) for choice in schema["anyOf"])
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    words = []
    for kind in kinds:
        if kind == "array":
            words.append("list of " + (items_words(schema["items"], root)))
        elif kind == "object":
            roles = schema.get("propertyNames", {}).get("enum")
            words.append("block with " + ", ".join(f"`{role}`" for role in roles) if roles else "block")
        elif kind == "null":
            words.append("`null`")
        else:
            words.append(TYPES[kind] + bounds(schema))
    return " or ".join(words)


def items_words(schema: dict[str, Any], root: dict[str, Any]) -> str:
    """Return the allowed types and values of list items, in words."""
    schema = resolved(schema, root)
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    return {"object": "blocks", "string": "texts"}.get(schema["type"]) or TYPES[schema["type"]] + "s" + bounds(schema)


def bounds(schema: dict[str, Any]) -> str:
    """Return the range of a number, such as `` >= 1, <= 20``."""
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    return "".join(f", {sign} {schema[key]}" for key, sign in signs.items() if key in schema).replace(",", "", 1)


def rows(block: dict[str, Any], root: dict[str, Any], prefix: str = "", required_word: str = "required") -> Iterator[Row]:
    """Yield a row for each key of a block and of the unnamed blocks within it; required keys come first.

    Args:
        block: schema of an object.
        root: the whole schema.
        prefix: prefix of the keys, with its dot.
        required_word: text in the default column of a required key.
    """
    required = block.get("required", [])
    separate = named_blocks(root)
    for key, sub in sorted(block["properties"].items(), key=lambda item: item[0] not in required):
        inline = reference(sub) not in separate
        sub = resolved(sub, root)
        if inline and "properties" in sub:
            always = "default" in sub or key in required
            yield from rows(sub, root, f"{prefix}{key}.", required_word if always else f"required with `{key}`")
            continue
        meaning = str(sub.get("description", "")).strip()
        unit = UNIT.search(meaning)
        if "default" in sub:
            default = f"`{json.dumps(sub['default'], ensure_ascii=False)}`".replace('"', "")
        else:
            default = required_word if key in required else ""
        yield Row(prefix + key, type_words(sub, root), unit[1] if unit else "", default, UNIT.sub("", meaning))


def reference(schema: dict[str, Any]) -> str:
    """Return the name of the definition that a schema refers to, also if nullable; empty if there is none."""
    references = [choice["$ref"] for choice in (schema, *schema.get("anyOf", [])) if "$ref" in choice]
    return references[0].removeprefix("#/$defs/") if references else ""


def named_blocks(root: dict[str, Any]) -> dict[str, list[str]]:
    """Return the definitions of blocks that get a separate table, with their places.

    These are blocks that users name or list (``corpora.NAME``, ``experiments[]``), and blocks that several others contain. They
    are ordered as in a configuration, from top to bottom.
    """
    places: dict[str, list[str]] = {}
    uses = Counter(re.findall(r'"#/\$defs/(\w+)"', json.dumps(root)))

    def visit(schema: dict[str, Any], place: str) -> None:
        name = reference(schema)
        schema = resolved(schema, root)
        if "properties" in schema:
            if name and (place.endswith((".NAME", "[]")) or uses[name] > 1):
                places.setdefault(name, []).append(place)
            for key, sub in schema["properties"].items():
                visit(sub, f"{place}.{key}" if place else key)
        if isinstance(schema.get("additionalProperties"), dict):
            visit(schema["additionalProperties"], f"{place}.NAME")
        if "items" in schema:
            visit(schema["items"], f"{place}[]")

    visit(root, "")
    return places


def tables(root: dict[str, Any]) -> str:
    """Return a heading, a sentence and a table in Markdown for each of :func:`named_blocks`."""
    parts = []
    for name, places in named_blocks(root).items():
        block = root["$defs"][name]
        lines = [f"### {', '.join(f'`{place}`' for place in places)}", ""]
        if "description" in block:
            lines += [str(block["description"]).strip(), ""]
        lines += ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
        for row in rows(block, root):
            cells = (f"`{row.key}`", row.type, row.unit, row.default, row.meaning)
            lines.append("| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def documented(page: str, root: dict[str, Any], where: str) -> str:
    """Return a page with the tables of a schema between its two markers.

    Args:
        page: Markdown.
        root: the schema.
        where: name of the page, for messages.

    Raises:
        InputError: the page does not have exactly one pair of markers.
    """
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(END) < page.index(BEGIN):
        raise InputError(
            f"{where}: no place for the tables",
            found=f"{page.count(BEGIN)} times {BEGIN}, {page.count(END)} times {END}",
            expected="one of each, in this order",
            mend="put both lines where the tables belong",
        )
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{tables(root)}\n\n{END}{rest.split(END)[1]}"


def schema_text() -> str:
    """Return the text of the schema file, as YAML to be readable."""

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    return HEADER + yaml.dump(json_schema(), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)
