"""Imports the user's files under names of their own, and keeps the digest of every file that ran.

Two networks may come from files of the same name, with helpers of the same name. Under the names that the user wrote,
the second network would get the helpers of the first from `sys.modules`. So the folder becomes a package of its own,
`_thawline_own_N`, and import statements in its files find each other there, whenever they run.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib
import importlib.util
import itertools
import os
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from thawline.reading import digest_of

_PREFIX = "_thawline_own_"
_numbers = itertools.count(1)
_packages: dict[str, OwnPackage] = {}
_by_factory: dict[tuple[Path, str], OwnPackage] = {}


def plain_names(text: str) -> str:
    """A message with the names of modules as the user wrote them."""
    return re.sub(rf"{_PREFIX}\d+\.", "", text)


class OwnPackage:
    """A folder of the user's files as a package that no other network shares."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, str] = {}
        """SHA-256 of every file that ran so far, by its path relative to the folder."""
        self.name = f"{_PREFIX}{next(_numbers)}"
        self._root = ModuleType(self.name)
        self._root.__path__ = [str(folder)]
        self._elsewhere: set[str] = set()
        self._usual_path: Sequence[str] | None = None
        self._importlib = ModuleType("importlib")
        self._importlib.__dict__.update(import_module=self._import_module, __getattr__=partial(getattr, importlib))
        sys.modules[self.name] = self._root
        _packages[self.name] = self
        if _Finder not in sys.meta_path:
            sys.meta_path.insert(0, _Finder)

    @classmethod
    def of(cls, folder: Path, factory: str) -> OwnPackage:
        """The package of a factory; the one of an earlier load if none of its files has changed since.

        Helpers then run once in a process, as they do in a script: some register operators, which works only once.
        """
        package = _by_factory.get((folder, factory))
        if package is None or any(package._digest(name) != digest for name, digest in package.files.items()):
            package = _by_factory[folder, factory] = cls(folder)
        return package

    def run(self, path: Path) -> ModuleType:
        """Run a file of the folder, whatever its name, also if it ran before."""
        name = f"{self.name}.{path.stem if path.stem.isidentifier() else 'factory'}"
        spec = importlib.util.spec_from_loader(name, _Loader(self, name, str(path)))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # where dataclasses and pickle look up the module of a class
        spec.loader.exec_module(module)
        return module

    def find(self, name: str) -> ModuleType:
        """Import the module of a dotted name below the folder."""
        return importlib.import_module(f"{self.name}.{name}")

    def keep(self, path: str, content: bytes) -> None:
        """Remember the digest of a file that runs."""
        self.files[Path(os.path.relpath(path, self.folder)).as_posix()] = hashlib.sha256(content).hexdigest()

    def differing(self, recorded: Mapping[str, str]) -> list[str]:
        """Files that run now, or ran when `recorded` was, and are not the same."""
        now = {name: self.files.get(name) or self._digest(name) for name in {*recorded, *self.files}}
        return sorted(name for name, digest in now.items() if recorded.get(name) != digest)

    def _digest(self, name: str) -> str | None:
        """SHA-256 of a file, which may not have run yet; None if it is not there."""
        path = self.folder / name
        return digest_of(path) if path.is_file() else None

    @contextmanager
    def importing(self) -> Iterator[None]:
        """Within the context, imports by other code on their behalf (pickle) find the folder, too, and leave no trace.

        So do folders that the user's code adds to `sys.path`: they become part of the package.
        """
        path, modules = list(sys.path), dict(sys.modules)
        hidden = _modules_named_like_files(self.folder)
        for name in hidden:
            del sys.modules[name]
        self._usual_path = (*path, str(self.folder))
        sys.path.insert(0, str(self.folder))
        importlib.invalidate_caches()
        try:
            yield
        finally:
            self._adopt()
            sys.path[:], self._usual_path = path, None
            self._remove([name for name, module in sys.modules.items() if modules.get(name) is not module])
            sys.modules.update({name: modules[name] for name in hidden})

    def _adopt(self) -> None:
        """Make folders that the user's code has added to `sys.path` part of the package."""
        added = [entry for entry in sys.path if self._usual_path is not None and entry not in self._usual_path]
        folders = [str(Path(entry).absolute()) for entry in added if not _is_installed(entry)]
        if new := [folder for folder in folders if folder not in self._root.__path__]:
            self._root.__path__.extend(new)
            self._elsewhere.clear()

    def _remove(self, names: Sequence[str]) -> None:
        """Remove modules of the user's folders that were imported by name, and keep their digests."""
        for name in names:
            file = getattr(sys.modules[name], "__file__", None)
            if file and any(_is_of(file, name.partition(".")[0], Path(entry)) for entry in self._root.__path__):
                self.keep(file, Path(file).read_bytes())
                del sys.modules[name]

    def _has(self, root: str) -> bool:
        """Whether the top-level name `root` is one of the user's files."""
        if f"{self.name}.{root}" in sys.modules:
            return True
        self._adopt()
        if root not in self._elsewhere and not is_beside(root, self._root.__path__):
            self._elsewhere.add(root)
        return root not in self._elsewhere

    def statement(
        self,
        name: str,
        namespace: Mapping[str, object] | None = None,
        local: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """What an import statement in the user's files calls: `__import__`, but their own files come first."""
        own, root = f"{self.name}.{name}", name.partition(".")[0]
        itself = namespace is not None and namespace.get("__name__") == own and "__path__" not in namespace
        if level == 0 and (name == "importlib" or (root == "importlib" and not fromlist)):
            builtins.__import__(name, namespace, local, (), 0)
            return self._importlib
        if level or itself or not self._has(root):
            return builtins.__import__(name, namespace, local, fromlist or (), level)
        if fromlist:
            return builtins.__import__(own, namespace, local, fromlist, 0)
        importlib.import_module(own)
        return sys.modules[f"{self.name}.{root}"]

    def _import_module(self, name: str, package: str | None = None) -> ModuleType:
        """What `importlib.import_module` is in the user's files."""
        beside = not name.startswith(".") and self._has(name.partition(".")[0])
        return importlib.import_module(f"{self.name}.{name}" if beside else name, package)


class _Loader(SourceFileLoader):
    """Runs a file from its source, never from bytecode, so that the digest is that of what runs."""

    def __init__(self, package: OwnPackage, name: str, path: str) -> None:
        super().__init__(name, path)
        self._package = package

    def get_code(self, fullname: str) -> CodeType:
        content = self.get_data(self.path)
        self._package.keep(self.path, content)
        code: CodeType = self.source_to_code(content, self.path)
        return code

    def exec_module(self, module: ModuleType) -> None:
        # Import statements call what `__builtins__` of their module has, also those in functions that run later.
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._package.statement}
        super().exec_module(module)


class _Finder:
    """Finds the modules of the packages above; on `sys.meta_path`, once there is one."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        package = _packages.get(name.partition(".")[0])
        spec = PathFinder.find_spec(name, path, target) if package and path else None
        if package and spec and spec.origin and spec.has_location:
            if isinstance(spec.loader, SourceFileLoader):
                spec.loader = _Loader(package, name, spec.origin)
            else:  # compiled: it has no source
                package.keep(spec.origin, Path(spec.origin).read_bytes())
        return spec


def is_beside(root: str, path: Sequence[str]) -> bool:
    """Whether the top-level name `root` is a module or package in these folders.

    A folder without __init__.py counts only if nothing else has its name: else `data` or `torch` beside the user's
    file, full of images or weights, would stand in the way of an installed package, as it never does in a script.
    """
    spec = None if root in sys.builtin_module_names else PathFinder.find_spec(root, path)
    if spec is None or spec.origin is not None:
        return spec is not None
    try:
        other = importlib.util.find_spec(root)
    except ValueError:  # a module without a specification, such as __main__
        return False
    return other is None or other.origin is None


def _modules_named_like_files(folder: Path) -> list[str]:
    """Imported modules, but installed ones, that an import by name would find instead of a file of this folder."""
    packages = {path.parent.name for path in folder.glob("*/__init__.py")}
    roots = {path.stem for path in folder.glob("*.py")} | packages
    found = [(name, getattr(module, "__file__", None)) for name, module in sys.modules.items()]
    return [name for name, file in found if name.partition(".")[0] in roots and file and not _is_installed(file)]


_INSTALLED = tuple(map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")))


def _is_installed(path: str) -> bool:
    return str(Path(path).absolute()).startswith(_INSTALLED)


def _is_of(file: str, root: str, folder: Path) -> bool:
    """Whether a file is the module `root` of a folder, or part of the package `root` there."""
    path, folder = Path(file).resolve(), folder.resolve()
    return path == folder / f"{root}.py" or path.is_relative_to(folder / root)
