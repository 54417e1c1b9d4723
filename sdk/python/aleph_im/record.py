"""How JSON answers become dataclasses: leniently, so that a node may know more than this version.

Members that a record does not name are kept in its `extra`. Decimals may be text or numbers, times ISO 8601 or Unix seconds.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, TypeVar

from .errors import AnswerError

R = TypeVar("R", bound="Record")


@dataclass(frozen=True, kw_only=True)
class Record:
    """Something that a node says."""

    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Members that this version does not know."""

    @classmethod
    def read(cls: type[R], data: Any) -> R:
        """Read a JSON object; one without a member that a record cannot do without is an AnswerError."""
        if not isinstance(data, Mapping):
            raise AnswerError(f"the node sent {type(data).__name__} where {cls.__name__} was expected")
        hints = _hints(cls)  # type: ignore[arg-type]  # classes are hashable
        known: dict[str, Any] = {}
        for f in dataclasses.fields(cls):
            if f.name == "extra":
                continue
            name = f.metadata.get("name", f.name)
            if name in data:
                try:
                    known[f.name] = convert(hints[f.name], data[name])
                except (ValueError, TypeError, ArithmeticError, OSError) as wrong:
                    raise AnswerError(f"{cls.__name__}.{name}: the node sent {data[name]!r}: {wrong}") from wrong
            elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
                raise AnswerError(f"{cls.__name__}: the node left out {name}")
        names = {f.metadata.get("name", f.name) for f in dataclasses.fields(cls)}
        return cls(**known, extra={name: value for name, value in data.items() if name not in names})


@functools.cache
def _hints(cls: type[Record]) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def convert(kind: Any, value: Any) -> Any:
    """Make a JSON value what an annotation says."""
    origin = typing.get_origin(kind)
    if kind is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        (kind,) = (option for option in typing.get_args(kind) if option is not type(None))
        return convert(kind, value)
    if origin is list:
        (each,) = typing.get_args(kind)
        return [convert(each, item) for item in value or []]
    if origin in (dict, Mapping):
        each = typing.get_args(kind)[1]
        return {name: convert(each, item) for name, item in (value or {}).items()}
    if origin is typing.Literal:  # a newer node may know more of them
        kind = str
    if kind is datetime:
        return moment(value)
    if kind is Decimal:
        return Decimal(str(value))
    if isinstance(kind, type) and issubclass(kind, Record):
        return kind.read(value)
    if kind in (int, float) and isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return kind(value)
    if not isinstance(value, kind):
        raise TypeError(f"not {kind.__name__}")
    return value


def moment(value: Any) -> datetime:
    """Return an aware time from ISO 8601 or Unix seconds."""
    if isinstance(value, str):
        # Python 3.10 reads neither "Z" nor fractions of other lengths than three and six.
        text = value.removesuffix("Z") + "+00:00" if value.endswith("Z") else value
        parsed = datetime.fromisoformat(re.sub(r"\.(\d+)", lambda fraction: f".{fraction[1]:0<6.6}", text))
        return parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)
    return datetime.fromtimestamp(float(value), timezone.utc)


def seconds(when: datetime | float | None) -> str | None:
    """Write a time for a query; a datetime without a zone is a ValueError."""
    if when is None:
        return None
    if isinstance(when, datetime):
        if when.tzinfo is None:
            raise ValueError("a time needs a zone: datetime.now(timezone.utc), not datetime.now()")
        when = when.timestamp()
    return f"{when:.6f}".rstrip("0").rstrip(".")
