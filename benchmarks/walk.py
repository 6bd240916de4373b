"""How many functions of geodiag one command goes through: what a reader follows from a file to its result.

Two walks: one `geodiag extract` of three steps of one block, and one figure of the runs in `data/lab`. Each is done
twice and counted the second time, when everything is imported. Of each walk two counts: the code objects that ran
(every lambda and comprehension is one), and the functions they stand in, by file and qualified name. Bodies of modules
and classes are not counted.

At commit fefdb73: 459 code objects in 63 modules (329 functions), and 133 in 22 (80 functions).
"""

from __future__ import annotations

import inspect
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import geodiag

PACKAGE = Path(geodiag.__file__).parent
LAB = Path(__file__).parents[1] / "data" / "lab" / "store"


class Walk:
    """The functions of geodiag that ran, by file and qualified name."""

    def __init__(self) -> None:
        self.codes: set[CodeType] = set()

    def _note(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call":
            self.codes.add(frame.f_code)

    def through(self, work: Callable[[], object]) -> None:
        """Run `work` and note every function that it or a thread of its own calls."""
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        try:
            work()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type]

    @property
    def ran(self) -> set[CodeType]:
        """The code objects of geodiag among them; bodies of modules and classes lack the flag CO_OPTIMIZED."""
        ours = {code for code in self.codes if Path(code.co_filename).is_relative_to(PACKAGE)}
        return {code for code in ours if code.co_flags & inspect.CO_OPTIMIZED}

    @property
    def functions(self) -> set[tuple[str, str]]:
        """File (relative to the package) and qualified name of each function."""
        names = {(str(Path(code.co_filename).relative_to(PACKAGE)), _qualified(code)) for code in self.ran}
        return {(file, name) for file, name in names if name}

    @property
    def modules(self) -> set[str]:
        """The files they stand in."""
        return {file for file, _ in self.functions}


def _qualified(code: CodeType) -> str:
    """The name of the function that a lambda or comprehension stands in; empty at module level."""
    return ".".join(part for part in code.co_qualname.split(".") if part[0] != "<" and part[-1] != ">")


def extraction() -> Walk:
    """`geodiag extract` of a synthetic run: three steps, one block of seven layers."""
    from geodiag.cli import main
    from tests import synthetic

    with tempfile.TemporaryDirectory() as folder:
        run = synthetic.write_run(Path(folder) / "run", steps=3, blocks=1)
        walk = Walk()

        def work(store: str) -> None:
            try:
                main(["extract", str(run), "--store", str(Path(folder) / store), "--device", "cpu"])
            except SystemExit as stopped:
                if stopped.code:
                    raise

        work("first")
        walk.through(lambda: work("second"))
    return walk


def figure() -> Walk:
    """`depth_profile` of one run of the shipped store."""
    from geodiag import figures
    from geodiag.store import StoreReader

    first, second = StoreReader(LAB), StoreReader(LAB)
    run = first.run_ids()[0]
    walk = Walk()
    figures.depth_profile(first, run=run)
    walk.through(lambda: figures.depth_profile(second, run=run))
    return walk


def main() -> None:
    """Print both counts; name the functions with `--list`."""
    for name, walk in {"extract": extraction(), "depth_profile": figure()}.items():
        print(f"{name}: {len(walk.ran)} code objects in {len(walk.modules)} modules ({len(walk.functions)} functions)")
        if "--list" in sys.argv:
            print("\n".join(f"  {file}: {function}" for file, function in sorted(walk.functions)))


if __name__ == "__main__":
    main()
