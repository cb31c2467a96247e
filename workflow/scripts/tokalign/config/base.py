"""Base of all blocks of the configuration: a strict typed model that reports the first error in one message."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError, core_schema

from tokalign.common.errors import ConfigurationError

RULE = "rule"
"""Type of the errors of ``broken``."""

Value = TypeVar("Value")
Part = TypeVar("Part", bound="Block")


class _LeftOut:
    """Mark of a field that may be left out but not null: ``None`` in Python means no such key in YAML."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        schema = handler(source)
        return schema["schema"] if schema["type"] == "nullable" else schema


class _Unique:
    """Mark of a list of unique items."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(schema) | {"uniqueItems": True}

    @staticmethod
    def _check(items: list[Any]) -> list[Any]:
        twice = [item for i, item in enumerate(items) if item in items[:i]]
        if twice:
            raise broken("an item stands twice in the list", found=twice[0], mend="name it once")
        return items


class _NotSwitch:
    """Mark of a choice of numbers; without it Python would also accept false (0) and true (1)."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(self._check, handler(source))

    @staticmethod
    def _check(value: Any) -> Any:
        if isinstance(value, bool):
            raise PydanticCustomError("literal_error", "a switch is no number")
        return value


NumberChoice = Annotated[Value, _NotSwitch()]


class _Added:
    """Marks a key that came after results were made: a block that leaves it at its default is written without it.

    What was computed before the key was there stays as it is: the settings of finished jobs, fingerprints of trainings and results
    are the same text as before. Whoever reads the filled-in configuration asks with ``get``; the types fill the default in. A
    default of such a key stays what it is: another one would be taken for the old one.
    """


ADDED = _Added()
LeftOut = Annotated[Value | None, _LeftOut()]
Unique = Annotated[list[Value], _Unique()]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9](?:-?[A-Za-z0-9._])*$")]
"""Name of a block. Paths join names by two hyphens, so a name has only single hyphens."""
Blocks = dict[Name, Value]
"""Named blocks of one kind."""
Precision = Literal["auto", "float32", "bfloat16"]
DocumentStart = Literal["eos", "bos", "none"]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def filled(description: str = "", value: Any = None) -> Any:
    """Return a field for a block whose default is filled from ``value``, by default an empty block."""
    return Field({} if value is None else value, validate_default=True, description=description or None)


def broken(what: str, key: str = "", *, found: Any = None, expected: str | None = None, mend: str | None = None) -> Exception:
    """Return the error of a rule that types cannot express, for a validator to raise.

    Args:
        what: what is wrong, in a few words.
        key: path from the checked block to the key, such as ``stages[0].name``; empty for the block itself.
        found: what was found, as in ``TokalignError``.
        expected: what would have been right.
        mend: what the user can do.
    """
    return PydanticCustomError(RULE, "{what}", {"what": what, "key": key, "found": found, "expected": expected, "mend": mend})


class Block(BaseModel):
    """A block of keys: unknown keys are refused, types are not converted, and it is immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, defer_build=True)

    @model_validator(mode="wrap")
    @classmethod
    def _keep_whole_numbers(cls, values: Any, handler: Callable[[Any], Self]) -> Self:
        """Keep ``10`` as ``10`` in a field for any number, so that a block's JSON matches the input."""
        block = handler(values)
        if isinstance(values, Mapping):
            block.__dict__.update({key: value for key, value in values.items() if type(value) is int and key in block.__dict__})
        return block

    @classmethod
    def of(cls, values: Mapping[str, Any], place: str = "") -> Self:
        """Validate values from YAML or JSON, and fill in the defaults.

        Args:
            values: values by key.
            place: name of the block in messages; empty for the whole configuration.

        Raises:
            ConfigurationError: the values are invalid; names the first error.
        """
        _check_json(values, place)
        text = json.dumps(values)  # no YAML-only types below this line
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            from tokalign.config.messages import explain  # needed only now, and slow to import

            raise explain(error, cls, json.loads(text), place) from None

    def part(self, kind: type[Part]) -> Part:
        """Return the keys of this block that form a block of another kind."""
        return kind.model_construct(**{name: getattr(self, name) for name in kind.model_fields})

    def plain(self, *without: str) -> dict[str, Any]:
        """Return the block as plain JSON values.

        Unset keys without a default are left out, and so are added keys at their default.

        Args:
            without: keys to omit.
        """
        fields = type(self).model_fields
        return {
            key: _plain(value) for key, value in self.__dict__.items() if key not in without and not _unsaid(fields[key], value)
        }


def _check_json(value: Any, place: str) -> None:
    """Check that a value has only types that JSON also has.

    Raises:
        ConfigurationError: YAML took an unquoted word for a date, or a key for true, false, null or a list.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            if isinstance(key, bool) or not isinstance(key, str | int) or (isinstance(key, int) and str(key) in value):
                raise ConfigurationError(
                    f"{place or 'the configuration'}: a key is no text", found=f"{key!r} ({type(key).__name__})",
                    expected="a text", mend="put it in quotes; YAML reads no, yes, on and off as true or false",
                )  # fmt: skip
            _check_json(item, f"{place}.{key}" if place else key)
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _check_json(item, f"{place}[{i}]")
    elif not (value is None or isinstance(value, str | int | float)):
        raise ConfigurationError(
            f"{place or 'the configuration'}: wrong type", found=f"{value} ({type(value).__name__})",
            expected="a text, a number, true, false, null, a list or a block", mend="put it in quotes if it is a text",
        )  # fmt: skip


def _unsaid(field: FieldInfo, value: Any) -> bool:
    """Say whether JSON has no such key: a field that was left out, or one that was added and stands at its default."""
    if value is None and any(isinstance(mark, _LeftOut) for mark in field.metadata):
        return True
    if ADDED not in field.metadata:
        return False
    default = type(value).of(field.default) if isinstance(value, Block) and isinstance(field.default, dict) else field.default
    return bool(value == default)


def _plain(value: Any) -> Any:
    if isinstance(value, Block):
        return value.plain()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
