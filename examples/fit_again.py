"""Teach a model that you have new images, without starting over, and see what it forgets of the old ones."""

import thawline

old = thawline.fit("photos", "old", strategy="last_blocks", epochs=4)

# Classes of the same name keep their rows of the head; `keep_old` weighs new images against old ones.
new = thawline.fit("new-photos", "new", model="old", strategy="full", epochs=4, keep_old=True)
print(new)
print(new.forgetting)

print(thawline.evaluate("new", "photos"))
