"""Optimiser groups and modes as plain PyTorch code, for training without thawline."""

from __future__ import annotations

from collections.abc import Mapping

_CONSTRUCTORS: Mapping[str, str] = {
    "adamw": "AdamW(groups.values())",
    "adam": "Adam(groups.values())",
    "sgd": "SGD(groups.values(), momentum=0.9)",
    "rmsprop": "RMSprop(groups.values())",
}

_LINES = """\
rates = {{  # parameter name prefix -> learning rate, None = frozen
{table}
}}
owner = lambda name: max((p for p in rates if name == p or name.startswith(p + ".")), key=len)
groups = {{}}
for name, parameter in model.named_parameters():
    prefix = owner(name)
    parameter.requires_grad = rates[prefix] is not None
    if rates[prefix] is not None:
        decay = {decay!r} if parameter.ndim > 1 else 0.0  # none of biases and norm layers
        group = {{"params": [], "lr": rates[prefix], "weight_decay": decay}}
        groups.setdefault((prefix, decay), group)["params"].append(parameter)
optimizer = torch.optim.{optimizer}
model.train()
for name, module in model.named_modules():  # after every model.train(): frozen blocks keep their statistics
    if any(rate is None and (name == p or name.startswith(p + ".")) for p, rate in rates.items()):
        module.eval()
{kept}"""

_KEPT_STATISTICS = """\
    if isinstance(module, torch.nn.modules.batchnorm._NormBase):  # trained blocks keep their statistics, too
        module.eval()
"""


def pytorch_lines(
    rates: Mapping[str, float | None], *, keeps_statistics: bool, optimizer: str, weight_decay: float
) -> str:
    """Code that takes `model` and defines `optimizer`.

    `rates`: learning rate by parameter name prefix, None = frozen; the prefixes cover all parameters.
    `keeps_statistics`: whether the batch-norm layers of trained blocks stay in eval mode, too.
    """
    table = "\n".join(f"    {prefix!r}: {rate!r}," for prefix, rate in rates.items())
    kept = _KEPT_STATISTICS if keeps_statistics else ""
    return _LINES.format(table=table, kept=kept, decay=weight_decay, optimizer=_CONSTRUCTORS[optimizer])
