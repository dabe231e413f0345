"""TARGETs: ``module:workflow`` and ``path/to/file.py:workflow``, imported as the program that they are.

What a project lists of these stands in its ``pyproject.toml``: its workflows, and the codec of its database.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias, TypeGuard, cast

from wrkflw.errors import WrkflwError
from wrkflw.errors.base import first_line
from wrkflw.suggestions import did_you_mean
from wrkflw.workflows import Workflow
from wrkflw.world.payloads import PayloadCodec

from .failures import MisuseError

AnyWorkflow: TypeAlias = Workflow[Any, Any, Any]

_PROJECT = Path("pyproject.toml")
_HOW = "give module:workflow or path/to/file.py:workflow"


def workflows_of(targets: Sequence[str] | None, *, option: str = "") -> list[AnyWorkflow]:
    """The workflows of all targets, each once; without targets those of the project in this folder.

    ``option`` is by which the command is given them.

    Raises MisuseError when there is none, or one cannot be imported.
    """
    given = list(targets or ()) or listed_here()
    if not given:
        how = f"{_HOW} with {option}" if option else _HOW
        raise MisuseError(
            f"no workflow is named here; {how}, or list them in {_PROJECT}: [tool.wrkflw] workflows = [...]"
        )
    found = {id(workflow): workflow for target in given for workflow in _load(target)}
    return list(found.values())


def workflow_of(target: str) -> AnyWorkflow:
    """The one workflow of a target.  Raises MisuseError when there are several."""
    found = _load(target)
    if len(found) > 1:
        names = ", ".join(f"{target}:{name}" for name in _named(_import(target)))
        raise MisuseError(f"{target} has {len(found)} workflows; name one of {names}")
    return found[0]


def listed_here() -> list[str]:
    """The targets that the project in this folder lists, if any.  Raises MisuseError when they cannot be read."""
    listed = _said_here("workflows", [])
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in cast("list[object]", listed)):
        raise MisuseError(f'workflows in [tool.wrkflw] of {_PROJECT} is no list of texts; write workflows = ["flows"]')
    return cast("list[str]", listed)


def codec_here() -> PayloadCodec | None:
    """The codec that the project in this folder names for its database, if it does.

    Raises MisuseError when it cannot be imported, or is none.
    """
    named = _said_here("codec", None)
    if named is None:
        return None
    where, _, name = named.rpartition(":") if isinstance(named, str) else ("", "", "")
    if not where:
        raise MisuseError(f'codec in [tool.wrkflw] of {_PROJECT} is {named!r}; write codec = "module:name"')
    try:
        codec = vars(_import(where)).get(name)
    except MisuseError as error:  # by a command that names no code at all
        problem = str(error).replace(_HOW, "write module:name or path/to/file.py:name")
        raise MisuseError(f"codec = {named!r} in {_PROJECT}: {problem}") from error
    if not all(hasattr(codec, part) for part in ("id", "reads_plain", "encode", "decode")):
        raise MisuseError(f"{where} has no codec {name!r}; give the name of one, an AesGcm for instance")
    return cast("PayloadCodec", codec)


def _said_here(name: str, default: object) -> object:
    """What ``[tool.wrkflw]`` of the project in this folder says.  Raises MisuseError when it cannot be read."""
    try:
        tools = tomllib.loads(_PROJECT.read_text(encoding="utf-8")).get("tool", {})
        return tools.get("wrkflw", {}).get(name, default)
    except FileNotFoundError:
        return default
    except (ValueError, AttributeError) as error:
        raise MisuseError(f"{_PROJECT} cannot be read: {first_line(error)}") from error


def _load(target: str) -> list[AnyWorkflow]:
    module, name = _split(target)
    known = _named(_import(target))
    if name:
        if name not in known:
            guess = did_you_mean(name, known) or f"; it has {', '.join(known) or 'none'}"
            raise MisuseError(f"{module} has no workflow {name!r}{guess}")
        return [known[name]]
    if not known:
        raise MisuseError(f"{module} has no workflow; end it in .commit(), at the top level of the module")
    return list({id(workflow): workflow for workflow in known.values()}.values())


def _split(target: str) -> tuple[str, str]:
    module, _, name = target.rpartition(":")
    if not module or module.endswith("/") or len(module) == 1:  # a path without a name, or a drive
        module, name = target, ""
    return module, name


def _named(module: ModuleType) -> Mapping[str, AnyWorkflow]:
    return {name: value for name, value in vars(module).items() if _is_workflow(value)}


def _is_workflow(value: object) -> TypeGuard[AnyWorkflow]:
    return issubclass(type(value), Workflow)  # a lazy object of a framework minds being asked for its class


def _import(target: str) -> ModuleType:
    where, _ = _split(target)
    try:
        return _import_file(Path(where)) if where.endswith(".py") else _import_module(where)
    except MisuseError:
        raise
    except WrkflwError as error:  # a definition that cannot be: the sentence says what to do
        raise MisuseError(f"{where}: {error}") from error
    except SystemExit as error:
        raise MisuseError(
            f"{where} ended while it was imported; put what it does under if __name__ == '__main__'"
        ) from error
    except Exception as error:
        problem = f"{type(error).__name__}: {first_line(error)}"
        raise MisuseError(f"{where} could not be imported: {problem}; add --debug to see where") from error


def _import_file(path: Path) -> ModuleType:
    """As ``python path`` would see it: what lies beside it can be imported."""
    if not path.is_file():
        raise MisuseError(f"there is no file {str(path)!r}; {_HOW}")
    path = path.resolve()
    known = sys.modules.get(path.stem)
    if known is not None and known.__file__ is not None and Path(known.__file__) == path:
        return known
    _put_first(path.parent)
    name = path.stem if known is None else f"wrkflw_target_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # annotations are looked up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _import_module(name: str) -> ModuleType:
    _put_first(Path.cwd())
    if not all(part.isidentifier() for part in name.split(".")):
        raise MisuseError(f"{name!r} is no module; {_HOW}")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            beside = f"; did you mean {name}.py?" if Path(f"{name}.py").is_file() else f"; {_HOW}"
            raise MisuseError(f"there is no module {name!r} here{beside}") from error
        raise


def _put_first(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
