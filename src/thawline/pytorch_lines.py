"""Optimizer groups and modes as plain PyTorch code, for training without thawline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


_MEAN_WEIGHTS = """\
# states = [...]  the state dicts of the trained networks{start}
shares = {shares!r}
mean = {{
    name: sum(share * state[name] for share, state in zip(shares, states)) if tensor.is_floating_point() else tensor
    for name, tensor in states[-1].items()
}}
model.load_state_dict(mean)
{statistics}"""

_MEAN_OUTPUT = """\
# models = [...]  the trained networks in eval mode; images [B, 3, S, S]
shares = {shares!r}
with torch.no_grad():
    probabilities = sum(share * model(images).softmax(dim=1) for share, model in zip(shares, models))
"""

_DISTILLED = """\

# model starts from the trained weights of the first network; teachers = [...]  all trained networks in eval mode
shares = {shares!r}
for images, labels in batches:  # teachers see the same augmented images as the model
    with torch.no_grad():
        mean = sum(share * teacher(images).softmax(dim=1) for share, teacher in zip(shares, teachers))
        soft = (mean.clamp_min(1e-12).log() / {temperature!r}).softmax(dim=1)
    logits = model(images)
    on_labels = torch.nn.functional.cross_entropy(logits, labels)
    on_outputs = torch.nn.functional.cross_entropy(logits / {temperature!r}, soft)
    loss = {labels!r} * on_labels + {outputs!r} * {temperature!r} ** 2 * on_outputs
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""

_NEW_STATISTICS = """\
# batch norm that trained gets the statistics of the averaged weights, in one pass over the training images:
# reset_running_stats(), momentum = None and train mode for these modules, eval mode for all others
"""


def mean_weights_lines(shares: Sequence[float], start_share: float, *, keeps_statistics: bool) -> str:
    """Code that takes `states` and loads their weighted mean into `model`.

    `start_share`: the share of what training started from, whose state dict then comes first.
    """
    parts = tuple(share / sum(shares) * (1 - start_share) for share in shares)
    return _MEAN_WEIGHTS.format(
        shares=(start_share, *parts) if start_share else parts,
        start=", after that of the network they started from" if start_share else "",
        statistics="" if keeps_statistics else _NEW_STATISTICS,
    )


def mean_output_lines(shares: Sequence[float]) -> str:
    """Code that takes `models` and `images` and gives the weighted mean of their `probabilities`."""
    return _MEAN_OUTPUT.format(shares=tuple(share / sum(shares) for share in shares))


def distilled_lines(shares: Sequence[float], output_share: float, temperature: float) -> str:
    """Code that trains `model` once more with `optimizer`, on labels and on the weighted mean output of `teachers`."""
    return _DISTILLED.format(
        shares=tuple(share / sum(shares) for share in shares),
        labels=round(1 - output_share, 12),
        outputs=output_share,
        temperature=temperature,
    )


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
