"""What is wrong with a manifest, said in the manifest's own words and with its line numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from geodiag.errors import ManifestError
from geodiag.runs.manifest import Manifest, Step
from geodiag.runs.yaml_source import Place, YamlSource

_UNKNOWN = ("extra_forbidden", "invalid_key")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and where."""

    place: Place
    """The way to the value: keys and list positions from the root."""
    what: str
    """What was found."""
    fix: str | None = None
    """What would be right."""

    def error(self, source: YamlSource) -> ManifestError:
        """The finding as an error that names the file, the line and the step."""
        step = self.place[1] if len(self.place) > 1 and self.place[0] == "steps" else None
        number = step + 1 if isinstance(step, int) else None
        return ManifestError(self.what, where=source.where(self.place), step=number, fix=self.fix)


def schema_findings(error: ValidationError, source: YamlSource) -> list[Finding]:
    """Pydantic's complaints about a manifest as findings, one for each place; misspelt keys come first."""
    findings: dict[Place, Finding] = {}
    # A misspelt key is also a missing one, and the spelling is what has to be mended.
    complaints = sorted(error.errors(include_url=False), key=lambda complaint: complaint["type"] not in _UNKNOWN)
    for complaint in complaints:
        # A union reports the branches that it tried behind the place: only the steps have places inside.
        place = complaint["loc"][: 3 if complaint["loc"][:1] == ("steps",) else 1]
        findings.setdefault(place, _finding(place, complaint, source))
    return list(findings.values())


def unknown_key(place: Place, known: list[str]) -> Finding:
    """A key that the manifest does not have, with the nearest ones that it has."""
    key = str(place[-1])
    near = get_close_matches(key.lower(), known, n=1)
    fix = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
    return Finding(place, f"unknown key {key!r}", fix)


def known_keys(model: type[BaseModel]) -> list[str]:
    """The keys that a user may write for a model, in their order."""
    return [field.alias or name for name, field in model.model_fields.items() if name != "path"]


def _finding(place: Place, complaint: Mapping[str, Any], source: YamlSource) -> Finding:
    model: type[BaseModel] = Step if place[:1] == ("steps",) and len(place) > 1 else Manifest
    kind, value = complaint["type"], complaint["input"]
    if kind in _UNKNOWN:
        return unknown_key(place, known_keys(model))
    if len(place) == 2:
        return Finding(place, f"a step is {shown(value)}", "write `{task: ..., state: ...}`")
    key, meant = str(place[-1]), _description(model, str(place[-1]))
    if kind == "missing":
        return Finding(place[:-1], f"key {key!r} is missing", f"give {meant}")
    written = source.written(place)
    if written and not isinstance(value, str) and kind == "string_type":
        return Finding(place, f"{key!r} is {shown(value)}, not text", f'put it in quotes: {key}: "{written}"')
    return Finding(place, f"{key!r} is {shown(value)}", f"give {meant}")


def _description(model: type[BaseModel], key: str) -> str:
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    return fields[key].description or ""


def shown(value: object) -> str:
    """A value as an error message shows it: its kind, and its text when that is short."""
    match value:
        case None:
            return "empty"
        case bool():
            return f"the truth value {str(value).lower()}"
        case int() | float():
            return f"the number {str(value)[:60]}"
        case str():
            return repr(value if len(value) <= 60 else value[:57] + "...") if value.strip() else "empty"
        case list() | tuple():
            return "an empty list" if not value else "a list"
        case _:
            return "a group of keys"
