"""Keep the figures of a finished `compare` or `fit` run: python benchmarks/keep.py RUN benchmarks/results/NAME.json.

Leaves out what only this machine needs (absolute paths, confusion matrices, figures per class).
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

DROPPED = {"confusion_matrix", "per_class", "plan", "notes"}


def keep(run: Path, target: Path) -> None:
    """Write the run's results, thinned out, with the commit that is checked out."""
    name = "comparison.json" if (run / "comparison.json").exists() else "results.json"
    results = thin(json.loads((run / name).read_text(encoding="utf-8")))
    results["data"]["root"] = Path(results["data"]["root"]).name
    results["model"]["source"] = Path(results["model"]["source"]).name
    results.pop("request")
    command = results["environment"]["command"]
    shown = re.sub(r"--out \S+", "--out RUN", command.split("__main__.py ")[-1].removeprefix("__main__ "))
    results["environment"] |= {"command": f"thawline {shown.removeprefix('thawline ')}", "platform": platform.system()}
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    results["commit"] = sys.argv[3] if len(sys.argv) > 3 else head.stdout.strip()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def thin(value: Any) -> Any:
    """The same without `DROPPED` keys, at any depth."""
    if isinstance(value, dict):
        return {key: thin(item) for key, item in value.items() if key not in DROPPED}
    return [thin(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    keep(Path(sys.argv[1]), Path(sys.argv[2]))
