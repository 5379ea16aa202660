"""How commands declare options, and what ``--help`` shows of them.

Fields of dataclasses are declared by :func:`option`, all else by :meth:`Command.add_argument`.
Every option has a help text, stands in a named group, and is common or advanced. ``--help`` shows
usage, examples and the common options on one screen; ``--help-all`` shows every option. This
module imports the standard library only, so that ``--help`` is fast.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import functools
import json
import math
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_METAVARS = {int: "N", float: "X", str: "NAME", Path: "PATH"}


def option(
    default: Any,
    help_text: str,
    choices: Sequence[str] | None = None,
    *,
    group: str = "",
    metavar: str | None = None,
    advanced: bool = False,
    file_only: bool = False,
) -> Any:
    """Return a dataclass field with its help text; each config gets its own mutable default.

    Args:
        default: Default value.
        help_text: Help of its flag.
        choices: What the command line accepts, if it is to check that.
        group: Title under which this field and those after it are listed.
        metavar: Name of its value in the help.
        advanced: Listed by ``--help-all`` only.
        file_only: Has no flag, and is set in the JSON file of ``--config``.
    """
    metadata = {
        "help": help_text, "choices": choices, "group": group, "metavar": metavar,
        "advanced": advanced, "file_only": file_only,
    }  # fmt: skip
    if isinstance(default, (dict, list)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


advanced = functools.partial(option, advanced=True)
file_only = functools.partial(option, file_only=True)


def given_fields(options: argparse.Namespace, kind: type) -> dict[str, Any]:
    """Return the values of the fields of a dataclass that a command line gave."""
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in vars(options).items() if name in names}


class Command(argparse.ArgumentParser):
    """Parser of one command, or of a group of commands.

    Its sub-parsers are commands too. An unknown option is an error that names the nearest one.

    Args:
        examples: Command lines, one or a few, that ``--help`` shows below the description.
        notes: Longer explanations, which only ``--help-all`` shows.
        strict: Refuse unknown options; otherwise they are left to the caller.
        arguments: Passed to ``argparse.ArgumentParser``, such as `description`.
    """

    def __init__(
        self, *, examples: str = "", notes: str = "", strict: bool = True, **arguments: Any
    ) -> None:
        arguments = {"formatter_class": _HelpFormatter, **arguments}
        super().__init__(allow_abbrev=False, add_help=False, **arguments)
        self.examples, self.notes, self.strict = examples.strip("\n"), notes.strip("\n"), strict
        self._advanced: set[argparse.Action] = set()
        self._file_only: set[str] = set()
        for flags, everything in ((("-h", "--help"), False), (("--help-all",), True)):
            super().add_argument(*flags, action=_Help, everything=everything)
        self.group("options")

    def group(self, title: str) -> None:
        """List the options that are declared from now on under this title."""
        known = [group for group in self._action_groups if group.title == title]
        self._group = known[0] if known else self.add_argument_group(title)

    def add_argument(  # type: ignore[override]
        self, *flags: str, advanced: bool = False, **given: Any
    ) -> argparse.Action:
        """Declare an option or an argument, as argparse does, in the present group.

        The type follows from a default that is a number or a path, and so does the name of the
        value; the help text ends with the choices and the default. ``%`` needs no escape.

        Args:
            flags: Its names.
            advanced: Listed by ``--help-all`` only.
            given: As for ``argparse``.
        """
        return self._declare(flags, given, given.get("default"), advanced)

    def _declare(
        self, flags: Sequence[str], given: dict[str, Any], default: Any, advanced: bool
    ) -> argparse.Action:
        action = self._group.add_argument(*flags, **_complete(flags, given, default))
        if advanced:
            self._advanced.add(action)
        return action

    def add_fields(
        self,
        kind: type,
        texts: Mapping[str, str] | None = None,
        *,
        defaults: Mapping[str, Any] | None = None,
        prefix: str = "",
        advanced: bool = False,
    ) -> None:
        """Declare a flag for each field of a dataclass; one not given is not in the namespace.

        Args:
            kind: The dataclass; its fields are made by :func:`option`, unless `texts` is given.
            texts: Help texts of the fields that get a flag.
            defaults: Defaults to show instead of the fields' own.
            prefix: Put before the names, in the flags and in the namespace.
            advanced: List them by ``--help-all`` only.
        """
        hints = typing.get_type_hints(kind)
        fields = {field.name: field for field in dataclasses.fields(kind)}
        for name in fields if texts is None else texts:
            field = fields[name]
            marks = field.metadata if texts is None else {"help": texts[name]}
            if marks.get("file_only") and not prefix:
                self._file_only.add(name)
                continue
            if marks.get("group"):
                self.group(marks["group"])
            default = (defaults or {}).get(name, _default(field))
            self._add_field(prefix, name, hints[name], default, marks, advanced)

    def _add_field(
        self, prefix: str, name: str, kind: Any, default: Any, marks: Any, advanced: bool
    ) -> None:
        given = {"dest": prefix + name, "default": argparse.SUPPRESS, "help": marks["help"]}
        flags = [f"--{prefix}{name.replace('_', '-')}"]
        kind = _plain(kind)
        if kind is bool and prefix:  # argparse would say --no-PREFIX
            off = flags[0].replace(f"--{prefix}", f"--{prefix}no-")
            self._declare([off], {"action": "store_false", **given}, None, advanced)
            given["action"] = "store_true"
        elif kind is bool:
            given["action"] = argparse.BooleanOptionalAction
        elif typing.get_origin(kind) is list:
            given |= {"nargs": "+", "type": typing.get_args(kind)[0]}
        elif typing.get_origin(kind) is dict:
            given |= {"type": _json_object, "metavar": "JSON"}
        elif typing.get_origin(kind) is typing.Literal:
            given["choices"] = typing.get_args(kind)
        else:
            given["type"] = kind
        given |= {key: marks[key] for key in ("choices", "metavar") if marks.get(key)}
        if "action" not in given and "choices" not in given:
            given.setdefault("metavar", _METAVARS.get(given["type"]))
        self._declare(flags, given, default, advanced or marks.get("advanced", False))

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does; an unknown option is refused before a missing one is."""
        words = list(sys.argv[1:] if args is None else args)
        takes_all = any(action.nargs in ("A...", "...") for action in self._actions)
        if self.strict and not takes_all:
            self.refuse_unknown(words)
        return super().parse_known_args(words, namespace)

    def refuse_unknown(self, words: Sequence[str]) -> None:
        """Exit with a usage error if one of the words is an option that does not exist."""
        for word in words[: words.index("--")] if "--" in words else words:
            flag = word.split("=")[0]
            if flag.startswith("--") and " " not in flag and flag not in self.flags:
                self.error(f"unknown option {flag}{self._hint(flag)}")

    @property
    def flags(self) -> list[str]:
        """All options, advanced ones too."""
        return list(self._option_string_actions)

    def _hint(self, flag: str) -> str:
        name = flag.removeprefix("--").replace("-", "_")
        if name in self._file_only:
            return f": set {name!r} in a JSON file and give that to --config"
        near = difflib.get_close_matches(flag, self.flags, n=1)
        return f"; did you mean {near[0]}?" if near else f"; see {self.prog} --help-all"

    def format_usage(self) -> str:
        """Return one line: arguments, required options, and whether there are others."""
        words = [self.prog]
        for action in self._actions:
            shown = _arguments(action)
            if not action.option_strings:
                words.append(shown)
            elif action.required:
                words.append(f"{action.option_strings[0]} {shown}")
        if any(action.option_strings and not action.required for action in self._actions):
            words.append("[options]")
        return f"usage: {' '.join(words)}\n"

    def format_help(self, everything: bool = False) -> str:
        """Return the text of ``--help``, or of ``--help-all``."""
        formatter = self._get_formatter()
        formatter.add_text(self.format_usage().strip())
        formatter.add_text(self.description)
        if self.examples:
            lines = [f"  {line}" for line in self.examples.splitlines()]
            formatter.add_text("\n".join(["examples:" if len(lines) > 1 else "example:", *lines]))
        if everything and self.notes:
            formatter.add_text(self.notes)
        for group in self._action_groups:
            shown = [
                action
                for action in group._group_actions
                if everything or action not in self._advanced
            ]
            formatter.start_section(group.title)
            formatter.add_arguments(shown)
            formatter.end_section()
        if not everything and (self._advanced or self.notes):
            count = len(self._advanced)
            more = f"{count} more option{'s' * (count != 1)}" if count else "more"
            formatter.add_text(f"'{self.prog} --help-all' explains {more}.")
        return formatter.format_help()


class _Help(argparse.Action):
    """``--help`` and ``--help-all``; neither is listed."""

    def __init__(self, option_strings: Sequence[str], dest: str, everything: bool) -> None:
        super().__init__(
            option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS,
            help=argparse.SUPPRESS,
        )  # fmt: skip
        self.everything = everything

    def __call__(self, parser: Any, *_: Any) -> None:
        parser._print_message(parser.format_help(self.everything), sys.stdout)
        parser.exit()


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Narrow first column; ``--[no-]flag`` for switches and ``NAME ...`` for several values."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if isinstance(action, argparse.BooleanOptionalAction):
            return action.option_strings[0].replace("--", "--[no-]", 1)
        return super()._format_action_invocation(action)

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        if action.nargs in ("+", "*"):
            return f"{action.metavar or default_metavar} ..."
        return super()._format_args(action, default_metavar)


def _complete(flags: Sequence[str], given: dict[str, Any], default: Any) -> dict[str, Any]:
    """Fill in type, metavar and the end of the help text."""
    if "action" not in given:
        kind: Any = given.get("type")
        if kind is None and isinstance(default, (int, float, Path)):
            kind = Path if isinstance(default, Path) else type(default)
        given = {**given, "type": _finite if kind is float else kind}
        if flags[0].startswith("-"):
            name = flags[-1].lstrip("-").upper()
            given.setdefault("metavar", _METAVARS.get(kind, name) if kind is not str else name)
    notes = [", ".join(given["choices"])] if given.get("choices") else []
    notes += _shown(default)
    text = f"{given['help']} ({'; '.join(notes)})" if notes else given["help"]
    return {**given, "help": text.replace("%", "%%")}


def _default(field: Any) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory()


def _shown(default: Any) -> list[str]:
    if default is None or default is False or default in ("", [], {}, (), argparse.SUPPRESS):
        return []
    if default is True:
        default = "on"
    elif isinstance(default, (list, tuple)):
        default = (" " if isinstance(default, list) else ",").join(map(str, default))
    elif isinstance(default, float):
        default = f"{default:.4g}"
    return [f"default: {default}"]


def _arguments(action: argparse.Action) -> str:
    """The values of an action in the usage."""
    name = action.metavar or ("COMMAND" if action.nargs == "A..." else action.dest.upper())
    forms = {"+": "{} ...", "*": "[{} ...]", "?": "[{}]", "...": "[...]"}
    return forms.get(str(action.nargs), "{}").format(name)


def _plain(kind: Any) -> Any:
    """``str`` of ``str | None``."""
    if isinstance(kind, types.UnionType):
        (kind,) = [item for item in typing.get_args(kind) if item is not types.NoneType]
    return kind


def _finite(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a finite number, got {text}")
    return value


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"expected a JSON object, got {text}")
    return value
