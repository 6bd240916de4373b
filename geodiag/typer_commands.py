"""Typer commands from declared options, and the flags that every command takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import click
import typer
from typer.core import TyperCommand

from geodiag.options import CommandOptions, Option


@dataclass
class Flags:
    """What `-q` and `--debug` ask for, before or after the command."""

    quiet: bool = False
    debug: bool = False


FLAGS = Flags()
"""Of this process."""


def _raise_flag(name: str) -> Callable[[click.Context, click.Parameter, bool], None]:
    def callback(_context: click.Context, _parameter: click.Parameter, value: bool) -> None:
        if value:
            setattr(FLAGS, name, True)

    return callback


class GeodiagCommand(TyperCommand):
    """A command that takes `-q` and `--debug` itself, as the group before it does."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.params += [
            typer.core.TyperOption(
                param_decls=names, is_flag=True, help=text, expose_value=False, callback=_raise_flag(name)
            )
            for name, names, text in (
                ("quiet", ["--quiet", "-q"], "Print nothing but errors."),
                ("debug", ["--debug"], "Show a traceback on errors."),
            )
        ]


def add_command(
    app: typer.Typer, options: type[CommandOptions] | None = None, *, example: str, name: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a function as a command; its parameter `options` is replaced by the options of a dataclass.

    Args:
        app: the application.
        options: a class of declared options; None where the function's own parameters are all.
        example: one command line, shown below the help.
        name: of the command, where it is not the function's.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        command = function if options is None else _expanded(function, options)
        app.command(name or function.__name__, cls=GeodiagCommand, epilog=f"Example: {example}")(command)
        return function

    return decorate


def _expanded(function: Callable[..., None], options: type[CommandOptions]) -> Callable[..., None]:
    """The function with a parameter for each declared option."""
    own = [p for p in inspect.signature(function, eval_str=True).parameters.values() if p.name != "options"]
    declared = list(options.declared())

    def command(**values: Any) -> None:
        given = {option.name: _value(option, values.pop(option.name)) for option in declared}
        function(**values, options=options.of(**given))

    parameters = [*own, *(_parameter(option) for option in declared)]
    # Positional ones first, as a signature asks for; Typer takes their kind from the annotation.
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    )
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__doc__, command.__name__ = function.__doc__, function.__name__
    return command


def _parameter(option: Option) -> inspect.Parameter:
    given = typer.Option(option.flag, metavar=option.metavar, help=option.described, show_default=False)
    kind: Any
    if option.type is bool:
        kind, default = Annotated[bool, given], False
    elif option.repeated and not option.split:
        kind, default = Annotated[list[str] | None, given], None
    else:
        plain = str if option.repeated else option.type
        kind, default = Annotated[plain | None, given], None
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _value(option: Option, value: Any) -> Any:
    """A value as the options take it: comma-separated text as a tuple."""
    if value is None or value is False or not option.repeated:
        return None if value is False else value
    words = [word.strip() for word in value.split(",")] if option.split else list(value)
    return tuple(word for word in words if word) or None


