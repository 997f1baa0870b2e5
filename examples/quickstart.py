"""Fine-tune a network on a folder of photos, look at what came out, classify a new photo.

`photos` has a folder per class, or train, val and test folders of those.
"""

import thawline

problems = thawline.check("photos")
print(problems)  # copies, unreadable files, one image in two splits

results = thawline.fit("photos", "run", budget="2x")
print(results)  # the sentence and the table; the whole report is run/report.html
print(f"test accuracy {results.test.accuracy.mean:.3f}, 95 % interval {results.test.interval95}")

network = results.model  # a timm module in eval mode
print(f"{sum(p.numel() for p in network.parameters()):,} parameters")

print(results.predict("new.jpg"))
