"""Compare four ways to fine-tune, each tuned by the same rule, then train the best plan as it is."""

import thawline

comparison = thawline.compare(
    "photos",
    "compared",
    strategies=["linear_probe", "last_blocks", "full", "lora"],
    epochs=4,
    seeds=2,  # final trainings of each; tuning uses another seed
)
print(comparison)

for row in comparison.rows:
    if row.test is not None:
        print(f"{row.strategy:30} {row.test.accuracy.mean:.3f} on test, {row.cost.work:.1f} full fine-tunings")

results = thawline.fit("photos", "best", plan=comparison.plan, epochs=4)
print(results.path / "model")
