"""Typer commands from declared options, and the flags that every command takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from geodiag.options import CommandOptions, Option


@dataclass
class Flags:
    """What `-q` and `--debug` ask for, before or after the command."""

    quiet: bool = False
    debug: bool = False


FLAGS = Flags()
"""Of this process."""

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback on errors.")]


def add_command(
    app: typer.Typer, options: type[CommandOptions] | None = None, *, example: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a function as a command; its parameter `options` is replaced by the options of a dataclass.

    Args:
        app: the application.
        options: a class of declared options; None where the function's own parameters are all.
        example: one command line, shown below the help.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        app.command(function.__name__, epilog=f"Example: {example}")(_expanded(function, options))
        return function

    return decorate


def _expanded(function: Callable[..., None], options: type[CommandOptions] | None) -> Callable[..., None]:
    """The function with a parameter for each declared option, and for the flags of every command."""
    own = [p for p in inspect.signature(function, eval_str=True).parameters.values() if p.name != "options"]
    declared = [] if options is None else list(options.declared().values())

    def command(**values: Any) -> None:
        FLAGS.quiet |= values.pop("quiet")
        FLAGS.debug |= values.pop("debug")
        if options is None:
            function(**values)
        else:
            given = {option.name: _value(option, values.pop(option.name)) for option in declared}
            function(**values, options=options.of(**given))

    flags = [_keyword("quiet", Quiet, False), _keyword("debug", Debug, False)]
    parameters = [*own, *(_parameter(option) for option in declared), *flags]
    # Typer takes arguments apart from options by their annotations, so that their kind and order do not matter.
    keywords = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    command.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__doc__, command.__name__ = function.__doc__, function.__name__
    return command


def _parameter(option: Option) -> inspect.Parameter:
    given = typer.Option(option.flag, metavar=option.metavar, help=option.described, show_default=False)
    if option.type is bool:
        return _keyword(option.name, Annotated[bool, given], False)
    if option.repeated and not option.split:
        return _keyword(option.name, Annotated[list[str] | None, given], None)
    plain = str if option.repeated else option.type
    return _keyword(option.name, Annotated[plain | None, given], None)


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _value(option: Option, value: Any) -> Any:
    """A value as the options take it: comma-separated text as a tuple; None where it was not given."""
    if value is None or value is False or not option.repeated:
        return None if value is False else value
    words = [word.strip() for word in value.split(",")] if option.split else list(value)
    return tuple(word for word in words if word)
