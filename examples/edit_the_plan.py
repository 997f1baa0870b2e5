"""A plan is a table of blocks and learning rates. Change it by hand, train it, and see whether that was better."""

import thawline

found = thawline.fit("photos", "found", budget="2x")
print(found.plan)

# `single`: where `auto` has averaged several trainings, the plan of the first of them.
stem, *middle, last, head = found.plan.blocks
edited = found.plan.single.freeze(stem).train(last, 3e-4).train(head, 1e-3)
print(edited)

again = thawline.fit("photos", "edited", plan=edited)
for name, results in {"found": found, "edited": again}.items():
    print(f"{name}: {results.test.accuracy.mean:.3f}, 95 % interval {results.test.interval95}")

# The same without thawline: lines that set up the optimizer of PyTorch.
if edited.sets_rates_only:
    print(edited.to_pytorch())
