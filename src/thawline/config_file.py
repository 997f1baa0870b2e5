"""Options of `fit` and `compare` in a TOML file: the template with all of them, reading, and the copy in a run folder.

Options that both commands take stand at the top, those of one of them in its table [fit] or [compare]. Standard library
only.
"""

from __future__ import annotations

import inspect
import json
import textwrap
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

from thawline.config import MAKE_A_PLAN, CompareOptions, FitOptions, Request, RunOptions
from thawline.errors import OptionError
from thawline.field_docs import field_docs
from thawline.other_names import suggested
from thawline.ranges import Fault, kinds, shown
from thawline.reading import parse_json, read_regular

Verb: TypeAlias = Literal["fit", "compare"]
VERBS: Mapping[Verb, type[RunOptions]] = {"fit": FitOptions, "compare": CompareOptions}
SHARED = frozenset(field.name for field in fields(RunOptions)) | {"data"}
WIDTH = 100
"""Columns of the template at most."""
DATA_HELP = "Folder of images, .csv table or named dataset; DATA on the command line."
UNSET = "  # an example: not set by default"
SEVERAL = frozenset({"model", "image_size"})
"""Options of which there may be a list."""
_EXAMPLES: Mapping[str, object] = {
    "weights": "random",
    "image_size": 224,
    "crop_pct": 0.875,
    "test_share": 0.2,
    "limit": 1000,
    "group_pattern": "(patient[0-9]+)",
    "schedule_epochs": 40,
    "clip_norm": 1.0,
    "learning_rate": 0.001,
    "preset": "paper",
    "workers": 4,
    "ray": "local",
    "cpus_per_worker": 1,
    "budget": "5x",
    "answer": "average",
    "latency": "5ms",
    "parameters": "3M",
    "plan": "run/plan.json",
}
"""Values in the template for options that have no default."""
_HEADER = """\
# Options of `thawline fit` and `thawline compare` with their defaults, for --config. Remove the # in front of an option
# to set it. What you give on the command line takes precedence. Paths are relative to where the command runs.
"""


def template() -> str:
    """Every option, commented out, with its meaning above and its default."""
    parts = [_HEADER, _entry("data", "photos", DATA_HELP, UNSET)]
    group = ""
    for field in fields(RunOptions):
        if (found := _group(field, RunOptions)) != group:
            group = found
            parts.append(f"# ----- {group} -----\n")
        parts.append(_field_entry(field, RunOptions))
    for verb, cls in VERBS.items():
        parts += [f"[{verb}]\n", *(_field_entry(field, cls) for field in _own(cls))]
    return "\n".join(parts)


def _own(cls: type[RunOptions]) -> list[Field[Any]]:
    return [field for field in fields(cls) if field.name not in SHARED]


def _group(field: Field[Any], cls: type) -> str:
    owner = next(base for base in cls.__mro__ if field.name in inspect.get_annotations(base))
    return str(vars(owner).get("group", "Other"))


def _field_entry(field: Field[Any], cls: type[RunOptions]) -> str:
    doc, value = field_docs(cls)[field.name], field.default
    if value is None:
        return _entry(field.name, _EXAMPLES.get(field.name, ""), doc, UNSET)
    return _entry(field.name, value, doc)


def _entry(name: str, value: object, doc: str, note: str = "") -> str:
    lines = textwrap.wrap(doc, WIDTH - 2, break_long_words=False, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in lines) + f"#{name} = {_toml(value)}{note}\n"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def read_config(path: Path, verb: Verb) -> dict[str, Any]:
    """What a file says for a command: options by name, as the command line takes them, and `data`.

    `path`: TOML, or the run.json of a run. Raises `OptionError` of one line for a file that cannot be read, an unknown
    option and a value of another type.
    """
    stored = _stored(path)
    tables = {name: stored.pop(name) for name in VERBS if name in stored}
    _refuse_unknown(path, stored, verb)
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise OptionError(f"{path}: [{name}] must be a table of options, got {shown(table)}.")
        _refuse_unknown(path, table, name, place=f" in [{name}]")
    own = tables.get(verb, {})
    if twice := sorted(stored.keys() & own.keys()):
        raise OptionError(f"{path}: {twice[0]} is given twice, at the top and in [{verb}]; leave one out.")
    return {name: _value(path, VERBS[verb], name, value) for name, value in {**stored, **own}.items()}


def _stored(path: Path) -> dict[str, Any]:
    try:
        content = read_regular(path)
    except OSError as error:
        raise OptionError(f"`config` {path} cannot be read ({error.strerror or error}).") from error
    if path.suffix == ".json":
        return _of_run(path, content)
    try:
        return tomllib.loads(content.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise OptionError(f"{path} is not valid TOML ({' '.join(str(error).split())}).") from error


def _of_run(path: Path, content: bytes) -> dict[str, Any]:
    try:
        stored: Any = parse_json(content.decode("utf-8", "surrogateescape"))
        request = Request.from_dict(stored["request"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise OptionError(
            f"{path} is not the run.json of a run; `thawline init` writes a file for `config`."
        ) from error
    if request.plan is not None:
        raise OptionError(f"{path} is of a run that was given its plan; repeat it with `plan` {path.parent}.")
    return {**_shared(request), request.verb: _of_verb(request)}


def _refuse_unknown(path: Path, table: Mapping[str, object], verb: Verb, place: str = "") -> None:
    """Raise `OptionError` for the first name that the command does not know."""
    known = {field.name for field in fields(VERBS[verb])} | {"data"}
    for name in table:
        if name in known:
            continue
        if other := [each for each, cls in VERBS.items() if name in {field.name for field in _own(cls)}]:
            raise OptionError(f"{path}: {name} is an option of {other[0]} alone; put it below [{other[0]}].")
        raise OptionError(f"{path}: unknown option {name!r}{place}{suggested(name, known) or '.'}")


def _value(path: Path, cls: type[RunOptions], name: str, value: object) -> object:
    """The value as the command line has it; `OptionError` if it is of another type or out of range."""
    kind = kinds(cls).get(name)
    try:
        if kind is not None:
            if name in SEVERAL and isinstance(value, list) and value:
                return [kind.taken(each) for each in value]
            return kind.taken(value)
        if name == "data":
            return _text(value)
        return ",".join(map(_text, value if isinstance(value, list) else [value]))
    except ValueError:
        rule = kind.rule if kind else "a string" if name == "data" else "a list of strings"
        raise OptionError(f"{path}: {name} {Fault(name, rule, value)}") from None


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError


def resolved(request: Request, plan: Path) -> str:
    """A request as a file for --config that repeats it; `plan`: where the run keeps a plan that was given."""
    where = f"thawline {request.verb} --config THIS_FILE --out NEW_FOLDER"
    lines = [f"# What this run was asked to do, defaults and presets included; `{where}` repeats it.\n"]
    shared, own = _shared(request), _of_verb(request)
    if request.plan is not None:
        shared = {name: value for name, value in shared.items() if name not in MAKE_A_PLAN}
        own["plan"] = str(plan.absolute())
    lines += _lines(shared)
    return "".join([*lines, f"\n[{request.verb}]\n", *_lines(own)])


def _lines(options: Mapping[str, object]) -> Iterator[str]:
    return (f"{name} = {_toml(value)}\n" for name, value in options.items() if value is not None)


def _shared(request: Request) -> dict[str, Any]:
    """The options that both commands take, without those that have no value."""
    cache = {
        "cache_memory": _size(request.cache.memory_bytes),
        "cache_disk": _size(request.cache.disk_bytes),
    }
    found = {"data": request.data, **cache, **_flat([request, request.train, request.images, request.search], SHARED)}
    if request.candidates is not None:
        found |= {"model": list(request.candidates.models), "image_size": list(request.candidates.image_sizes) or None}
    return {name: found[name] for name in ("data", *_names(RunOptions)) if found.get(name) is not None}


def _of_verb(request: Request) -> dict[str, Any]:
    own = _flat([request], {field.name for field in _own(VERBS[request.verb])})
    if (candidates := request.candidates) is not None:
        own |= {"parameters": candidates.parameters and str(candidates.parameters)}
        own |= {"latency": candidates.latency and f"{candidates.latency!r}ms"}
    if request.plan is not None:
        own["plan"] = None  # too long for a line
    elif request.verb == "fit":
        own["strategy"] = request.strategies[0]
    else:
        own["strategies"] = list(request.strategies)
    return {name: value for name, value in own.items() if value is not None}


def _flat(parts: Iterable[object], wanted: Iterable[str]) -> dict[str, Any]:
    names = set(wanted)
    return {name: getattr(part, name) for part in parts for name in _names(part) if name in names}


def _names(part: Any) -> list[str]:
    return [field.name for field in fields(part)]


def _size(count: int) -> str:
    """Bytes as people write them: `1G`, `500M`, `1000`."""
    for power, unit in ((4, "T"), (3, "G"), (2, "M"), (1, "K")):
        if count and count % 1024**power == 0:
            return f"{count // 1024**power}{unit}"
    return str(count)
