"""Which network, and how large? All pairs are measured and raced within one budget, and the best is fine-tuned."""

import thawline

results = thawline.fit(
    "photos",
    "run",
    model=["mobilenetv3_large_100", "resnet50"],
    image_size=[64, 96],
    latency="200ms",  # networks that are slower than this on this machine are listed, and not trained
    budget="3x",
)
print(results)

for trial in results.models.trials:  # one for each pair
    print(f"{trial.name}: {trial.words}")
print(results.predict("new.jpg"))
