"""Messages about an invalid block: the key, what was found, what was expected, how to correct it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from tokalign.common.errors import ConfigurationError
from tokalign.config.base import RULE, Block
from tokalign.config.lookup import nearest
from tokalign.config.schema import json_schema, resolved

Path = tuple[str | int, ...]

TYPES = {
    "object": "a block of keys", "array": "a list", "integer": "a whole number", "number": "a number",
    "string": "a text", "boolean": "true or false", "null": "null",
}  # fmt: skip
BOUNDS = {
    "minimum": "at least {}", "exclusiveMinimum": "more than {}", "maximum": "at most {}", "exclusiveMaximum": "less than {}",
    "minLength": "at least {} characters", "minItems": "at least {} items", "minProperties": "at least {} keys",
    "pattern": "like {}",
}  # fmt: skip
TEXT_AS_OTHER = "put it in quotes; YAML reads no, yes, on and off as true or false, and digits as a number"
NUMBER_AS_TEXT = "write the number without quotes; YAML reads 1e-4 as text, 1.0e-4 as a number"


def key_name(path: Iterable[str | int], place: str = "") -> str:
    """Return the path of a value as users write it: ``recipes.demo.stages[1].steps``."""
    text = place
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "the configuration"


def _found(value: Any) -> str:
    names = {bool: "true/false", int: "a whole number", float: "a number", str: "a text", list: "a list", dict: "a block"}
    return f"{value!r} ({'nothing (null)' if value is None else names[type(value)]})"


def _type_names(schema: dict[str, Any]) -> list[str]:
    if "anyOf" in schema:
        return [word for choice in schema["anyOf"] for word in _type_names(choice)]
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return [TYPES[kind] for kind in kinds]


def _within(values: Any, location: Path) -> Path:
    """Return the part of an error's location that is a path into the values; pydantic adds names of types."""
    path: list[str | int] = []
    for part in location:
        inside = (isinstance(values, dict) and part in values) or (isinstance(values, list) and isinstance(part, int))
        if inside:
            path.append(part)
            values = values[part]
    return tuple(path)


def _value(values: Any, path: Path) -> Any:
    for part in path:
        values = values[part]
    return values


def _schema_at(root: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the schema of the value at a path."""
    schema = resolved(root, root)
    for part in path:
        if "anyOf" in schema:
            schema = next(choice for choice in schema["anyOf"] if "items" in choice)
        inner = schema["items"] if isinstance(part, int) else schema.get("properties", {}).get(part)
        schema = resolved(schema["additionalProperties"] if inner is None else inner, root)
    return schema


def explain(error: ValidationError, kind: type[Block], values: Any, place: str) -> ConfigurationError:
    """Turn pydantic's errors into a message about the first one, ordered by key.

    Args:
        error: error of the validation.
        kind: type of the block.
        values: the validated values.
        place: name of the block; empty for the whole configuration.
    """

    def order(found: Any) -> tuple[bool, list[str], int]:
        path = _within(values, found["loc"])
        path = path[:-1] if found["type"] == "extra_forbidden" or "[key]" in found["loc"] else path
        first = ("extra_forbidden", "missing", "rule")
        return not path, [str(part) for part in path], first.index(found["type"]) if found["type"] in first else len(first)

    first = min(error.errors(include_url=False), key=order)
    location, path, root = first["loc"], _within(values, first["loc"]), json_schema(kind)
    where = key_name(path, place)
    if first["type"] == "extra_forbidden":
        known = list(_schema_at(root, path[:-1])["properties"])
        return ConfigurationError(f"{where}: unknown key", found=repr(path[-1]), mend=nearest(str(path[-1]), known))
    if first["type"] == "missing":
        key = location[-1]
        return ConfigurationError(
            f"{key_name((*path, key), place)}: missing key", expected=f"a value for {key!r}", mend=f"add {key!r} to {where}"
        )
    if first["type"] == RULE:
        rule = first["ctx"]
        key = f"{where}.{rule['key']}" if rule["key"] and (path or place) else rule["key"] or where
        return ConfigurationError(f"{key}: {rule['what']}", found=rule["found"], expected=rule["expected"], mend=rule["mend"])
    if "[key]" in location:
        return _explain_name(path[-1], key_name(path[:-1], place), _schema_at(root, path[:-1]).get("propertyNames", {}))
    value, schema = _value(values, path), _schema_at(root, path)
    if "enum" in schema:
        known = [str(choice) for choice in schema["enum"]]
        return ConfigurationError(
            f"{where}: not one of the choices", found=repr(value), expected=", ".join(known), mend=nearest(str(value), known)
        )
    about = schema.get("description", "")
    fitting = [choice for choice in schema.get("anyOf", []) if isinstance(value, list) and choice.get("type") == "array"]
    if fitting:  # a list instead of a text: pydantic also says that it is no text
        schema = fitting[0]
    elif re.search("_type$", first["type"]):
        types = _type_names(schema)
        number = isinstance(value, str) and {"a number", "a whole number"} & set(types)
        text = isinstance(value, bool | int | float) and "a text" in types
        return ConfigurationError(
            f"{where}: wrong type", found=_found(value), expected=f"{' or '.join(types)}. {about}".strip(),
            mend=NUMBER_AS_TEXT if number else TEXT_AS_OTHER if text else None,
        )  # fmt: skip
    bounds = " and ".join(words.format(schema[key]) for key, words in BOUNDS.items() if key in schema)
    return ConfigurationError(f"{where}: out of bounds", found=repr(value), expected=f"{bounds}. {about}".strip())


def _explain_name(name: str | int, where: str, schema: dict[str, Any]) -> ConfigurationError:
    """Return the error of an invalid name that the user chose."""
    if "enum" in schema:
        known = schema["enum"]
        return ConfigurationError(
            f"{where}: not one of the choices", found=repr(name), expected=", ".join(known), mend=nearest(str(name), known)
        )
    return ConfigurationError(
        f"{where}: {name!r} cannot be the name of a block here", found=repr(name),
        expected="letters, digits, '.', '_' and single hyphens", mend="rename it",
    )  # fmt: skip
