"""Groups of options: frozen dataclasses whose fields are command-line options."""

import copy
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import (
    Annotated,
    Any,
    ClassVar,
    dataclass_transform,
    get_args,
    get_type_hints,
)

import typer.core


@dataclass_transform(frozen_default=True)
class Group:
    """Base of a group of options: a frozen dataclass, each field of which is an option.

    Fields are annotated as parameters of a command are, and have defaults.

    Attributes:
      panel: Heading above the options in a help text.
    """

    panel: ClassVar[str]

    def __init_subclass__(cls, panel: str) -> None:
        super().__init_subclass__()
        cls.panel = panel
        dataclasses.dataclass(frozen=True)(cls)


class Command(typer.core.TyperCommand):
    """A command whose help lists options by group, and options without one last."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes arguments and options, with a heading for each group."""
        parts: dict[str, list[Any]] = {"Arguments": []}
        last: list[Any] = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            if parameter.param_type_name == "argument":
                parts["Arguments"].append(record)
            elif panel := getattr(parameter, "rich_help_panel", None):
                parts.setdefault(panel, []).append(record)
            else:
                last.append(record)
        for name, records in (parts | {"Options": last}).items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


def flat(command: Callable[..., None]) -> Callable[..., None]:
    """Replaces the groups among the parameters of a command by their options.

    Args:
      command: A function; parameters annotated with a :class:`Group` are groups.

    Returns:
      A function with one parameter for each option, as typer needs it.

    Example:
      >>> import inspect, typer
      >>> from typing import Annotated
      >>> from symjax.cli.groups import Group, flat
      >>> class Size(Group, panel="Size"):
      ...     width: Annotated[int, typer.Option()] = 1
      ...     height: Annotated[int, typer.Option()] = 2
      >>> @flat
      ... def area(name: str, size: Size) -> None:
      ...     print(name, size.width * size.height)
      >>> list(inspect.signature(area).parameters)
      ['name', 'width', 'height']
      >>> area(name="page", width=3, height=4)
      page 12
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, type[Group]] = {}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        hint = hints[name]
        if isinstance(hint, type) and issubclass(hint, Group):
            groups[name] = hint
            parameters += _parameters(hint)
        else:
            kind = inspect.Parameter.KEYWORD_ONLY
            parameters.append(parameter.replace(annotation=hint, kind=kind))

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        for name, group in groups.items():
            own = [parameter.name for parameter in _parameters(group)]
            given[name] = group(**{option: given.pop(option) for option in own})
        command(**given)

    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return wrapper


def _parameters(group: type[Group]) -> Iterator[inspect.Parameter]:
    """The fields of a group as parameters, with the heading of the group."""
    for field in dataclasses.fields(group):  # type: ignore[arg-type]
        kind, option = get_args(field.type)
        option = copy.copy(option)
        option.rich_help_panel = group.panel
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=Annotated[kind, option],
        )
