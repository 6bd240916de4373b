"""A YAML file with the line of each of its values, and base types of settings written in one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError
from yaml.reader import ReaderError

from geodiag.errors import ManifestError

KeyPath = tuple[str | int, ...]
"""The path to a value: keys and list positions from the root, such as `("steps", 2, "task")`."""

_KINDS = ("map", "seq", "str", "int", "float", "bool", "null", "merge")
_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in _KINDS)


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader without dates: `2024-01-01` stays the text it is."""

    yaml_implicit_resolvers = {  # noqa: RUF012  (a class attribute of PyYAML's)
        first: [(tag, pattern) for tag, pattern in rules if tag in _TAGS]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


@dataclass(frozen=True)
class YamlSource:
    """A parsed YAML file."""

    path: Path
    """The file."""
    data: object
    """Its contents as plain dicts, lists, texts, numbers, booleans and None."""
    root: yaml.Node
    """The same contents as nodes, with the position of every value in the text."""

    def where(self, place: Sequence[str | int] = ()) -> str:
        """`file:line` of the value at `place`, or of the nearest value around it."""
        return f"{self.path}:{_nearest(self.root, place)[0].start_mark.line + 1}"

    def written(self, place: Sequence[str | int]) -> str | None:
        """The text of the single value at `place` as the user wrote it; None where there is none."""
        value = _nearest(self.root, place)[1]
        return str(value.value) if isinstance(value, yaml.ScalarNode) else None


def read_yaml(path: Path) -> YamlSource:
    """Read one YAML file, strictly: no repeated keys, no tags beyond plain data.

    Args:
        path: the file.

    Raises:
        ManifestError: the file cannot be read, is not UTF-8, is empty or is not YAML; the line is named.
    """
    text = _text(path)
    try:
        loader = _PlainLoader(text)
        root = loader.get_single_node()
        if root is None:
            raise ManifestError("the file is empty", where=path)
        _refuse_oddities(path, root)
        return YamlSource(path, loader.construct_document(root), root)
    except ReaderError as error:
        where = f"{path}:{text.count(chr(10), 0, error.position) + 1}"
        problem = f"the character {chr(error.character)!r} has no place in a text file"
        raise ManifestError(problem, where=where, fix="delete it") from error
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(path, error) from error
    except RecursionError as error:
        raise ManifestError("nested too deeply to be a manifest", where=path) from error
    except (ValueError, LookupError) as error:  # an explicit tag over a value that it does not fit: `!!int abc`
        raise ManifestError(f"holds a value that its tag does not fit ({error})", where=path) from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestError(f"not UTF-8 text at byte {error.start}", where=path, fix="save it as UTF-8") from error
    except OSError as error:
        raise ManifestError(f"cannot be read ({error.strerror})", where=path) from error


def _syntax_error(path: Path, error: yaml.MarkedYAMLError) -> ManifestError:
    mark = error.problem_mark or error.context_mark
    return ManifestError(
        f"not valid YAML: {error.problem}" + (f" {error.context}" if error.context else ""),
        where=f"{path}:{mark.line + 1}" if mark else path,
        fix="indent with spaces, not tabs"
        if "'\\t'" in str(error.problem)
        else "check indentation, colons and quotes there",
    )


def _refuse_oddities(path: Path, root: yaml.Node) -> None:
    for node in _nodes(root):
        where = f"{path}:{node.start_mark.line + 1}"
        if node.tag not in _TAGS:
            raise ManifestError(f"the tag {node.tag!r} has no meaning here", where=where, fix="write a plain value")
        lines: dict[str, int] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            where, line = f"{path}:{key.start_mark.line + 1}", key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise ManifestError("a key is not plain text", where=where, fix="write `key: value`")
            if key.value in lines:
                problem = f"key {key.value!r} stands here again, first on line {lines[key.value]}"
                raise ManifestError(problem, where=where, fix="keep one of them")
            lines[key.value] = line


def scalars(root: yaml.Node) -> Iterator[yaml.ScalarNode]:
    """Every single value of a file, with its place in the text."""
    for node in _nodes(root):
        if isinstance(node, yaml.ScalarNode):
            yield node


def _nodes(root: yaml.Node) -> Iterator[yaml.Node]:
    """Every node once, however often aliases point to it."""
    pending, seen = [root], set()
    while pending:
        node = pending.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.MappingNode):
            for pair in node.value:
                pending += pair
        elif isinstance(node, yaml.SequenceNode):
            pending += node.value


def _nearest(root: yaml.Node, place: Sequence[str | int]) -> tuple[yaml.Node, yaml.Node | None]:
    """The node that starts the line of `place`, and the value there (None where the path ends before it)."""
    line, value = root, root
    for part in place:
        child = _child(value, part)
        if child is None:
            return line, None
        line, value = child
    return line, value


def _child(node: yaml.Node, part: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == str(part)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None


class ClosedModel(BaseModel):
    """Settings without unknown keys, which never change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StrictSettings(ClosedModel):
    """Settings whose values are never converted; the text under a field is the remedy that an error offers."""

    model_config = ConfigDict(strict=True, hide_input_in_errors=True, use_attribute_docstrings=True)


def _number(value: object) -> object:
    """YAML reads 1e-6, without a point, as text."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise PydanticCustomError("value", "no number") from None
    return value


FiniteNumber = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_number)]
Positive = Annotated[FiniteNumber, Field(gt=0)]
NotNegative = Annotated[FiniteNumber, Field(ge=0)]
Share = Annotated[FiniteNumber, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
