"""The fields of `Settings`: how a value is read from a source, and checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, get_args

import attrs

from .domain.names import CATEGORY_NAME
from .settings_sources import (
    ConfigError,
    SettingsSource,
    read_secret_file,
    variable,
    without_line_end,
)

MAX_TTL = 10 * 365 * 86_400
"""Maximum time to live of an item in seconds, as in a request."""

FILE_SUFFIX = "_file"
"""Suffix of a setting that names the file with the value of another."""

_CATEGORY = re.compile(CATEGORY_NAME)

HINT = "`roundel init` writes a file with new secrets"
"""What to do about a setting that is missing."""


def setting(
    expected: str,
    *,
    parse: Callable[[str], object] = str,
    is_valid: Callable[[Any], object] = lambda _: True,
    default: object = attrs.NOTHING,
    secret: bool = False,
    in_file: bool = False,
    toml_types: tuple[type, ...] = (str,),
) -> Any:  # noqa: ANN401, the field declares the type
    """Define a setting; messages say what is *expected*.

    A *secret* is never shown. With *in_file* its value may be in a file, which the
    setting with `FILE_SUFFIX` names. A value in TOML has one of *toml_types*.
    """
    metadata = {
        "expected": expected,
        "parse": parse,
        "is_valid": is_valid,
        "secret": secret,
        "in_file": in_file,
        "toml_types": toml_types,
    }
    return attrs.field(default=default, metadata=metadata, repr=not secret)


def list_of(expected: str, **options: Any) -> Any:  # noqa: ANN401
    """Define a setting with several values; *options* are those of `setting()`."""
    expected = f"{expected}, separated by commas"
    return setting(expected, toml_types=(str, list), **options)


def choice(alias: object, default: str) -> Any:  # noqa: ANN401
    """Define a setting that is one of the words of a `Literal`."""
    *most, last = words = get_args(alias)
    expected = f"{', '.join(most)} or {last}"
    return setting(expected, is_valid=words.__contains__, default=default)


def count(low: int, high: int, default: int, unit: str = "") -> Any:  # noqa: ANN401
    """Define a setting that is a whole number from *low* to *high*."""
    return setting(
        f"a count{unit and f' of {unit}'} from {low} to {high}",
        parse=int,
        is_valid=range(low, high + 1).__contains__,
        default=default,
        toml_types=(str, int),
    )


def number(high: float, expected: str, default: float) -> Any:  # noqa: ANN401
    """Define a setting that is a number above 0, and at most *high*."""
    return setting(
        expected,
        parse=float,
        is_valid=lambda n: 0 < n <= high,
        default=default,
        toml_types=(str, int, float),
    )


def seconds(default: float) -> Any:  # noqa: ANN401
    """Define a setting that is a time in seconds."""
    expected = "a number of seconds, above 0 and at most 86400"
    return number(86_400, expected, default)


def texts() -> Any:  # noqa: ANN401
    """Define a setting that is a list of texts, none of them empty."""
    return list_of("texts", parse=split, is_valid=_has_no_empty, default=())


def _has_no_empty(values: tuple[str, ...]) -> bool:
    return bool(values) and all(values)


def split(text: str) -> tuple[str, ...]:
    """Return the values of a list; an empty text has none."""
    return tuple(part.strip() for part in text.split(",")) if text else ()


def parse_ttl(text: str) -> tuple[tuple[str, float], ...]:
    """Return pairs of a category and seconds; raise `ValueError` for other text."""
    pairs = [part.partition("=") for part in split(text)]
    ttl = {name.strip(): float(seconds) for name, _, seconds in pairs}
    valid = all(_CATEGORY.fullmatch(n) and 0 <= s <= MAX_TTL for n, s in ttl.items())
    if not valid or len(ttl) < len(pairs):
        raise ValueError
    return tuple(ttl.items())


def names_of(field: attrs.Attribute[Any]) -> tuple[str, ...]:
    """Return the names of the settings for *field*: its own, and its file's."""
    in_file = field.metadata["in_file"]
    return (field.name, field.name + FILE_SUFFIX) if in_file else (field.name,)


def load_field(
    field: attrs.Attribute[Any], sources: Iterable[SettingsSource]
) -> object:
    """Return the value in the first of *sources* that has one, or the default.

    Raises `ConfigError` if there is neither, or if the value is invalid.
    """
    for source in sources:
        found = [name for name in names_of(field) if name in source.values]
        if len(found) > 1:
            raise ConfigError(
                f"{', '.join(map(variable, found))} ({source.origin}): expected one of "
                "them, got both"
            )
        for name in found:
            return _load_value(field, name, source)
    if field.default is attrs.NOTHING:
        expected = field.metadata["expected"]
        raise ConfigError(
            f"{variable(field.name)}: not set, expected {expected}; {HINT}"
        )
    return field.default


def _load_value(
    field: attrs.Attribute[Any], name: str, source: SettingsSource
) -> object:
    shown = f"{variable(name)} ({source.origin})"
    value = source.values[name]
    if name != field.name:
        try:
            value = read_secret_file(_as_text(value, (str,)))
        except ValueError as error:
            reason = str(error) or "expected a path"
            raise ConfigError(f"{shown}: {source.values[name]!r}: {reason}") from None
    try:
        parsed = field.metadata["parse"](_as_text(value, field.metadata["toml_types"]))
        if field.metadata["is_valid"](parsed):
            return parsed
    except ValueError:
        pass
    expected, is_secret = field.metadata["expected"], field.metadata["secret"]
    got = "a value that is not shown" if is_secret else _shown(value)
    raise ConfigError(f"{shown}: expected {expected}, got {got}")


def _shown(value: object) -> str:
    try:
        return repr(value)
    except ValueError:
        return "a number of too many digits"  # Of 4,300, sys.int_info has the limit.


def _as_text(value: object, types: tuple[type, ...]) -> str:
    """Return *value* as text; raise `ValueError` if it has none of the *types*."""
    # A bool is an int, but no number.
    if type(value) not in types:
        raise ValueError
    if isinstance(value, list):
        # A comma would make two elements of one.
        if not all(isinstance(part, str) and "," not in part for part in value):
            raise ValueError
        return ",".join(value)
    return without_line_end(str(value))
