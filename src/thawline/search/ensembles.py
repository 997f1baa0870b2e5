"""Which outputs to average: forward selection on validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np


def best_members(
    outputs: Mapping[str, np.ndarray], first: str, loss: Callable[[np.ndarray], float], most: int
) -> list[str]:
    """The members of the ensemble, `first` and up to `most` - 1 others, of outputs [n, C] by name.

    Added one by one, each the one that lowers the loss of the mean output most, until none lowers it (Caruana et al.
    2004, Ensemble selection from libraries of models, section 2, without replacement).
    """
    members, total = [first], outputs[first]
    lowest = loss(total)
    while len(members) < most:
        losses = {
            name: loss((total + output) / (len(members) + 1)) for name, output in outputs.items() if name not in members
        }
        following = min(losses, key=losses.__getitem__, default=None)
        if following is None or losses[following] >= lowest:
            break
        members.append(following)
        total, lowest = total + outputs[following], losses[following]
    return members
