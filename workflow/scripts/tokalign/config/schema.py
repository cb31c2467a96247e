"""JSON schema of the configuration, generated from its types: for editors, messages, and the tables of the documentation."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from tokalign.config.base import Block
from tokalign.config.configuration import Configuration


class _Generator(GenerateJsonSchema):
    """Generator of a terser schema than pydantic's: no titles, a list of types for nullable values, references to blocks."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> dict[str, Any]:
        inner = self.generate_inner(schema["schema"])
        if isinstance(inner.get("type"), str):
            return inner | {"type": [inner["type"], "null"]}
        return {"anyOf": [inner, {"type": "null"}]}

    def union_schema(self, schema: core_schema.UnionSchema) -> dict[str, Any]:
        return {"anyOf": [self.generate_inner(choice) for choice in schema["choices"]]}

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> dict[str, Any]:
        inner = self.generate_inner(schema["schema"])
        null = schema["schema"]["type"] == "nullable"
        return inner if schema.get("default") is None and not null else {**inner, "default": schema["default"]}

    def dict_schema(self, schema: core_schema.DictSchema) -> dict[str, Any]:
        made = {"type": "object", "additionalProperties": self.generate_inner(schema["values_schema"])}
        keys = self.generate_inner(schema["keys_schema"])
        keys.pop("type", None)
        if keys:
            made["propertyNames"] = keys
        self.update_with_validations(made, schema, self.ValidationsMapping.object)
        return made

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> dict[str, Any]:
        made = super().model_schema(schema)
        made.pop("title", None)
        if made.get("description"):
            made["description"] = " ".join(made["description"].split())
        return made


def json_schema(kind: type[Block] = Configuration) -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a kind of block, or of the whole configuration."""
    made = kind.model_json_schema(schema_generator=_Generator)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """Follow references, also of nullable values; keys beside a reference are kept."""
    while "$ref" in schema or {"type": "null"} in schema.get("anyOf", []):
        beside = {key: value for key, value in schema.items() if key not in ("$ref", "anyOf")}
        if "$ref" in schema:
            target = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
        else:
            target = resolved(next(choice for choice in schema["anyOf"] if choice != {"type": "null"}), root)
            target = target | {"type": [target["type"], "null"]}
        schema = {**target, **beside}
    return schema
