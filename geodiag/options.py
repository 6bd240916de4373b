"""Options of the commands, each declared once: a field with its docstring is an option of the command line, an argument
of the API, an argument of a scheduler's job, and part of the stored configuration.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from difflib import get_close_matches
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, get_args, get_origin, get_type_hints

from geodiag.common.text import listed
from geodiag.errors import SettingsError
from geodiag.extraction.measurements import MEASUREMENTS, Measurement

if TYPE_CHECKING:
    from geodiag.jobs.batch import Work

PLACEHOLDERS = {int: "N", float: "X", str: "TEXT", Path: "PATH"}
"""What stands for a value in help, by type, where a field does not say."""


@dataclass(frozen=True)
class Option:
    """One option of a command."""

    name: str
    """As a keyword of the API."""
    type: Any
    """int, float, str, bool, Path, or tuple[str, ...]."""
    default: Any
    """Its value where it is not given."""
    help: str
    """The field's docstring, in one line."""
    metavar: str | None = None
    """What stands for the value in help."""
    flag: str = ""
    """As typed, `--memory-budget`."""
    owner: str | None = None
    """The measurement whose option it is; None of the command itself."""
    field: str = ""
    """The field of the owner's options."""
    repeated: bool = False
    """Whether it takes several values."""
    split: bool = True
    """Whether several values are one text with commas; else the option is typed several times."""

    @property
    def described(self) -> str:
        """Its help with the default."""
        if self.type is bool or self.default in (None, ()):
            return self.help
        default = ",".join(self.default) if isinstance(self.default, tuple) else self.default
        return f"{self.help} (default: {default})"


def options_of(owner: type, measurement: str | None = None) -> tuple[Option, ...]:
    """The options that a dataclass declares, one a field, in order.

    A field's metadata may hold `option` (its name on the command line), `metavar`, and `hidden` (no option at all).

    Args:
        owner: a dataclass whose fields have docstrings.
        measurement: the measurement that it belongs to.
    """
    helps, hints = _docstrings(owner), get_type_hints(owner)
    return tuple(
        _option(one, hints[one.name], helps[one.name], measurement)
        for one in fields(owner)
        if not one.metadata.get("hidden")
    )


def _option(one: Any, hint: Any, text: str, measurement: str | None) -> Option:
    kind = _plain_type(hint)
    default = one.default if one.default is not MISSING else one.default_factory()
    name = str(one.metadata.get("option", one.name))
    choices = "|".join(map(str, _choices(hint)))
    metavar = one.metadata.get("metavar") or choices or PLACEHOLDERS.get(kind, "TEXT")
    flag = "--" + str(one.metadata.get("flag", name)).replace("_", "-")
    return Option(
        name,
        kind,
        default,
        text,
        metavar=None if kind is bool else metavar,
        flag=flag,
        owner=measurement,
        field=one.name,
        repeated=get_origin(kind) is tuple,
        split=bool(one.metadata.get("split", True)),
    )


def _plain_type(hint: Any) -> Any:
    """The type of a value: `int | None` is int, a Literal is the type of its values."""
    members = [member for member in get_args(hint) if member is not type(None)]
    if get_origin(hint) is tuple:
        return tuple[str, ...]
    if _choices(hint):
        return type(_choices(hint)[0])
    return _plain_type(members[0]) if members else hint


def _choices(hint: Any) -> tuple[Any, ...]:
    from typing import Literal

    return get_args(hint) if get_origin(hint) is Literal else ()


def _docstrings(owner: type) -> dict[str, str]:
    """The docstring below each field of a class, base classes included, on one line."""
    texts: dict[str, str] = {}
    for cls in reversed(inspect.getmro(owner)[:-1]):
        for one, below in pairwise(_class_body(inspect.getfile(cls), cls.__name__)):
            if isinstance(one, ast.AnnAssign) and isinstance(below, ast.Expr):
                target, value = one.target, below.value
                if isinstance(target, ast.Name) and isinstance(value, ast.Constant):
                    texts[target.id] = " ".join(str(value.value).split())
    return texts


def _class_body(file: str, name: str) -> list[ast.stmt]:
    """The statements of a class in a source file, none where the file has no class of this name."""
    classes = [one for one in _parsed(file).body if isinstance(one, ast.ClassDef) and one.name == name]
    return classes[0].body if classes else []


@cache
def _parsed(file: str) -> ast.Module:
    return ast.parse(Path(file).read_text(encoding="utf-8"))


class CommandOptions:
    """Base of a command's options."""

    @classmethod
    def declared(cls) -> Mapping[str, Option]:
        """The command's options by name, in the order of help."""
        key = (cls, *MEASUREMENTS)
        if key not in _DECLARED:
            _DECLARED[key] = MappingProxyType({option.name: option for option in cls._options()})
        return _DECLARED[key]

    @classmethod
    def _options(cls) -> Iterator[Option]:
        yield from options_of(cls)

    @classmethod
    def of(cls, **given: Any) -> Self:
        """The options with what was given; None is not given.

        Raises:
            SettingsError: there is no such option, a value is out of its range, or two do not go together.
        """
        for name in given.keys() - cls.declared().keys():
            fix = suggestion(name, cls.declared())
            raise SettingsError(f"there is no option {name!r}", where=cls.__name__, fix=fix)
        options = cls._made({name: value for name, value in given.items() if value is not None})
        options.check()
        return options

    @classmethod
    def _made(cls, given: Mapping[str, Any]) -> Self:
        return cls(**given)

    def check(self) -> None:
        """Refuses combinations that make no sense.

        Raises:
            SettingsError: names the option, and what would be right.
        """


_DECLARED: dict[tuple[Any, ...], Mapping[str, Option]] = {}
"""By class and measurements: a command's options are read from the source once."""


def suggestion(name: str, names: Any) -> str:
    """`did you mean rank?`, or all names."""
    near = get_close_matches(name, list(names), n=1)
    return f"did you mean {near[0]}?" if near else f"one of: {', '.join(sorted(names))}"


_SLURM = ("shards", "partition", "time", "slurm")
_ENGINES = {**dict.fromkeys(_SLURM, "slurm"), "shard": "local", "strict": "local"}
"""Options that have a use with one engine only."""


@dataclass(frozen=True)
class ExtractOptions(CommandOptions):
    """Options of `geodiag extract` and of `geodiag.extract`, less those of the measurements."""

    measure: tuple[str, ...] = field(default=("geometry",), metadata={"metavar": "NAME,..."})
    """Measurements to make, separated by commas."""
    gradients: bool = False
    """Measure gradient conflict too: adds gradients to --measure."""
    gradients_only: bool = False
    """The same as --measure gradients: onto stored runs."""
    preset: str | None = field(default=None, metadata={"metavar": "paper|release"})
    """Named settings: paper (the definitions) or release (as the paper's released code)."""
    device: str = field(default="auto", metadata={"metavar": "DEVICE"})
    """auto, cpu, cuda, cuda:<n>, several with commas, or all."""
    memory_budget: str | None = field(default=None, metadata={"metavar": "SIZE"})
    """Memory that updates or gradients may take at once, as 4GB; half of what is free where it is not given."""
    read: str = field(default="mmap", metadata={"metavar": "mmap|buffered"})
    """How weights are read; buffered for a network file system."""
    overwrite: bool = False
    """Replace what was measured with other settings or inputs, of the measurements named."""
    strict: bool = False
    """Stop at the first run that fails."""
    dry_run: bool = False
    """Print what would be done and what it takes."""
    shard: str | None = field(default=None, metadata={"metavar": "I/N"})
    """Do the I-th of N shares of the work; auto: as the scheduler says."""
    engine: str = field(default="local", metadata={"metavar": "local|slurm"})
    """Where the work is done; slurm submits it as an array of shards."""
    shards: int = 4
    """slurm: jobs that share the work."""
    partition: str | None = field(default=None, metadata={"metavar": "NAME"})
    """slurm: where they run."""
    time: str = field(default="60", metadata={"metavar": "LIMIT"})
    """slurm: a job's limit, as 90 or 1:30:00; what is left goes on in another."""
    slurm: tuple[str, ...] = field(default=(), metadata={"metavar": "KEY=VALUE", "split": False})
    """slurm: any parameter of sbatch; may be repeated."""
    settings: Mapping[str, Any] = field(default_factory=dict, metadata={"hidden": True})
    """Options of the measurements, by measurement."""
    given: frozenset[str] = field(default=frozenset(), metadata={"hidden": True})
    """Names of the options that were given."""

    @classmethod
    def _options(cls) -> Iterator[Option]:
        """The command's own options, then those of every measurement."""
        own = {option.name: option for option in options_of(cls)}
        first = ("measure", "gradients", "gradients_only", "preset")
        offered = ", ".join(f"{measurement.name} ({measurement.summary})" for measurement in MEASUREMENTS)
        yield replace(own["measure"], help=f"Measurements to make, separated by commas: {offered}.")
        yield from (own[name] for name in first[1:])
        for measurement in MEASUREMENTS:
            yield from options_of(measurement.options, measurement.name)
        yield from (option for name, option in own.items() if name not in first)

    @classmethod
    def _made(cls, given: Mapping[str, Any]) -> Self:
        by_owner: dict[str | None, dict[str, Any]] = {None: {}}
        names = set()
        for name, value in given.items():
            option = cls.declared()[name]
            by_owner.setdefault(option.owner, {})[option.field] = value
            if value is not False:
                names.add(name)
        own, settings = by_owner.pop(None), {}
        for measurement in MEASUREMENTS:
            chosen = by_owner.get(measurement.name, {})
            settings[measurement.name] = measurement.make_options(own.get("preset"), chosen)
        return cls(**own, settings=MappingProxyType(settings), given=frozenset(names))

    @property
    def measured(self) -> tuple[str, ...]:
        """The names of the measurements to make, in the order of `MEASUREMENTS`."""
        chosen = ("gradients",) if self.gradients_only else (*self.measure, *(("gradients",) * self.gradients))
        return tuple([measurement.name for measurement in MEASUREMENTS if measurement.name in chosen])

    def check(self) -> None:
        """Refuses combinations that make no sense.

        Raises:
            SettingsError: names the option, and what would be right.
        """
        names = [measurement.name for measurement in MEASUREMENTS]
        for name in self.measure:
            if name not in names:
                raise SettingsError(f"there is no measurement {name!r}", where="--measure", fix=suggestion(name, names))
        if not self.measure:
            raise SettingsError("nothing is to be measured", where="--measure", fix=f"some of {', '.join(names)}")
        if self.gradients_only and self.given & {"measure", "gradients"}:
            fix = "give --measure alone, as in --measure geometry,gradients"
            raise SettingsError("--gradients-only leaves out what else is asked for", where="--measure", fix=fix)
        if self.engine not in ("local", "slurm"):
            raise SettingsError(f"engine is {self.engine!r}", where="--engine", fix="one of local, slurm")
        idle: dict[str, list[str]] = {}
        for name in self.given:
            option = self.declared()[name]
            if (engine := _ENGINES.get(name, self.engine)) != self.engine:
                idle.setdefault(f"--engine {engine}", []).append(option.flag)
            if option.owner not in (None, "geometry", *self.measured):
                idle.setdefault(f"--measure {option.owner}", []).append(option.flag)
        for needed, flags in idle.items():
            one = len(flags) == 1
            message = f"{listed(sorted(flags))} {'is' if one else 'are'} for {needed}"
            fix = f"add {needed}, or leave {'it' if one else 'them'} out"
            raise SettingsError(message, where="extract", fix=fix)

    def work(self, store: Path) -> Work:
        """The extraction that they ask for."""
        from geodiag.checkpoints import check_reading
        from geodiag.jobs import Work, parse_bytes, parse_shard

        return Work(
            store=store,
            measured=self.measured,
            settings=self.settings,
            device=self.device,
            memory=None if self.memory_budget is None else parse_bytes(self.memory_budget),
            overwrite=self.overwrite,
            strict=self.strict,
            reading=check_reading(self.read),
            shard=None if self.shard is None else parse_shard(self.shard),
        )

    def arguments(self, runs: Path, store: Path) -> Callable[[Measurement], tuple[str, ...]]:
        """The command line behind `geodiag` that makes one measurement elsewhere, with every setting written out."""
        # What the preset and the engine decided stands in the settings; the shard is the job's own.
        left_out = {"measure", "gradients", "gradients_only", "preset", "engine", "shard", "strict", "dry_run", *_SLURM}

        def of(measurement: Measurement) -> tuple[str, ...]:
            words = ["extract", str(runs.absolute()), "--store", str(store.absolute()), "--measure", measurement.name]
            for option in self.declared().values():
                own = option.owner is None and option.name not in left_out
                if own or option.owner in ("geometry", measurement.name):
                    value = getattr(self if own else self.settings[str(option.owner)], option.field)
                    words += _words(option, value)
            return tuple(words)

        return of


@dataclass(frozen=True)
class AnalyzeOptions(CommandOptions):
    """Options of `geodiag analyze` and `geodiag report`: draws, seed and the independent unit."""

    resamples: int = 2000
    """Resamples of whole runs behind a percentile interval; 0: none."""
    permutations: int = 3000
    """Shuffles behind a p-value; 0: none."""
    seed: int = 0
    """The seed of all resamples and shuffles."""
    cluster: str = field(default="run", metadata={"metavar": "run|size|method|seed"})
    """The unit that is drawn, left out and exchanged as a whole, where runs that share it are not independent."""


@dataclass(frozen=True)
class FiguresOptions(CommandOptions):
    """Options of `geodiag figures`."""

    only: tuple[str, ...] = field(default=(), metadata={"metavar": "NAME", "split": False})
    """Draw this figure only; may be repeated."""
    runs: tuple[str, ...] = field(default=(), metadata={"metavar": "RUN", "split": False})
    """A run that gets figures of its own; may be repeated; none for none."""
    format: str = field(default="png", metadata={"metavar": "png|pdf|svg"})
    """File format."""
    paper: bool = False
    """Draw from the published numbers instead of a store."""

    def check(self) -> None:
        """Refuses --runs with --paper: the published numbers hold no run.

        Raises:
            SettingsError: both are given.
        """
        if self.paper and self.runs:
            message = "--runs is for figures of a store"
            raise SettingsError(message, where="geodiag figures", fix="leave out --runs or --paper")


@dataclass(frozen=True)
class DiffOptions(CommandOptions):
    """Options of `geodiag diff` and of `geodiag.diff`."""

    families: tuple[str, ...] = field(default=(), metadata={"metavar": "FAMILY,..."})
    """Projection families to compare, separated by commas; all where it is not given."""
    layers: str | None = field(default=None, metadata={"metavar": "REGEX"})
    """A regular expression that layer names must match."""
    device: str = field(default="auto", metadata={"metavar": "DEVICE"})
    """auto, cpu, cuda or cuda:<n>."""
    read: str = field(default="mmap", metadata={"metavar": "mmap|buffered"})
    """How weights are read; buffered for a network file system."""


def _words(option: Option, value: Any) -> list[str]:
    """An option as typed; nothing where it is off or has no value."""
    if value is None or value is False:
        return []
    if value is True:
        return [option.flag]
    return [option.flag, ",".join(value) if isinstance(value, tuple) else str(value)]
