"""Print a kept comparison as a markdown table: python benchmarks/table.py benchmarks/results/NAME.json."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HEADER = "| strategy | rate | val | test | 95 % interval | trained | work | minus full | p (Holm) |"
RULE = "|---|---|---|---|---|---|---|---|---|"


def line(row: dict[str, Any]) -> str:
    """One strategy."""
    versus, (low, high) = row["versus_full"], row["test"]["interval95"]
    cells = [
        f"`{row['chosen']}`",
        f"{row['learning_rate']:g}",
        spread(row["val"]["accuracy"]),
        spread(row["test"]["accuracy"]),
        f"{low:.3f} to {high:.3f}",
        f"{row['trainable_percent']:.3g} %",
        f"{row['cost']['work']:.2f}",
        "" if versus is None else "{:+.3f} ({:+.3f} to {:+.3f})".format(versus["difference"], *versus["interval95"]),
        "" if versus is None else f"{versus['p_holm']:.2g}",
    ]
    return f"| {' | '.join(cells)} |"


def spread(figure: dict[str, Any]) -> str:
    """Mean and standard error over seeds."""
    return f"{figure['mean']:.3f} ± {figure['standard_error']:.3f}"


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        print("\n".join([HEADER, RULE, *map(line, rows)]))
