"""Every verdict that thawline gives, made from typed results: no more and no less than was measured.

An interval is the 95 % interval over test images, in a depth study with several seeds over these, too; how many
trainings stand behind a figure is said beside it.
Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from thawline.formatting import counted, figure, interval
from thawline.plan import FineTunePlan
from thawline.results import (
    Calibration,
    DepthCurve,
    Evaluation,
    FitAgain,
    Interval,
    MirrorTest,
    SplitScores,
    TestScores,
    TriedShare,
    Versus,
)

SIGNIFICANT = 0.05
"""Largest p-value of a difference that is called one."""
WORTH_TELLING = 0.02
"""Difference in accuracy that a test split should be able to show, 0 to 1."""
REFERENCE = "full"
"""The row that others are compared with."""
SAME_PLAN = "the same plan as full"
FROM_PRETRAINED, FROM_START = "the pretrained network", "the starting weights"
REFITTED_SCORES = (
    "the model was refitted on train and val together: these scores are its own, those of the run are of the model "
    "before the refit"
)
"""Beside new scores of a refitted model."""
REFITTED_CHANGES = (
    "The model was refitted on train and val together, so validation images are training images here; the scores of "
    "the run are of the model before the refit."
)
"""Beside what a refitted model looks at."""
RANDOM_START = (
    "The starting weights are random, and frozen blocks stay random: freezing makes no sense here, except as a control."
)
UNKNOWN_START = "thawline cannot tell whether your code loads pretrained weights; freeze blocks only if it does."
MIRRORED_P, MIRRORED_RISE, MIRRORED_NATS = 0.01, 0.1, 0.01
"""Mirror images are worse where their log-loss rises by this share and by so many nats, with a p-value below that."""
MIRROR_TEST = (
    "Before any training, the mirror test: a linear probe learns from the training images as they are, then "
    "classifies the validation images and their mirror images. If it is clearly worse on the mirror images, left and "
    "right matter in your classes, and random flips would give the network wrong training examples."
)
_TAIL = 0.025
"""What a 95 % interval leaves out on either side."""
_ROUNDING = 1e-9


def against_full(found: Versus, images: int, trainings: int) -> str:
    """A paired comparison with full fine-tuning over so many test images, with so many trainings on either side."""
    return against(found, images, trainings, REFERENCE, SAME_PLAN)


def against(found: Versus, images: int, trainings: int, reference: str, same: str) -> str:
    """The same with another row, which is called `reference`; `same` = what is said where both are one plan."""
    if found.words == same:
        return same
    ends = difference_interval(found, images)
    spread = f"95 % interval over {counted(images, 'test image')}: {_points(ends[0])} to {_points(ends[1])}"
    if differs(found):
        direction = "better" if found.difference > 0 else "worse"
        chance = f"Holm-adjusted p = {found.p_holm:.2g}" if found.p_holm >= 0.001 else "Holm-adjusted p < 0.001"
        amount = f"{100 * abs(found.difference):.1f} points {direction} than {reference}"
        return f"{amount} ({spread}; {chance} over test images; {_each(trainings)})"
    sentence = (
        f"cannot be told apart from {reference}: {_points(found.difference)} points ({spread}; {_each(trainings)})"
    )
    return "; ".join([sentence, *_unconfirmed(found), *_too_few(ends, images)])


def briefly(found: Versus, images: int) -> str:
    """The same for a cell of a table: `+2.3 points (+0.1 to +4.4), no clear difference`."""
    if "points" not in found.words:  # of one and the same plan
        return found.words
    low, high = (_points(end) for end in difference_interval(found, images))
    outcome = "no clear difference"
    if differs(found):
        outcome = "better" if found.difference > 0 else "worse"
    return f"{_points(found.difference)} points ({low} to {high}), {outcome}"


def _each(trainings: int) -> str:
    """What neither the interval nor p covers: other test images would differ, and so would other trainings."""
    if trainings == 1:
        return "one training each, so another seed may differ"
    return f"{trainings} trainings each, whose variation is not in the interval"


def row(scores: TestScores, versus: Versus | None, images: int) -> str:
    """How a row compares with guessing and with full fine-tuning on test; empty where there is nothing to say."""
    compared = against_full(versus, images, scores.accuracy.n) if versus else ""
    return "; ".join(filter(None, (guessing(scores), compared)))


def fitted_again(facts: FitAgain, refusal: str) -> str:
    """What became of the old head, in sentences; `refusal` = why it could not be kept, if it could not."""
    classes = [(facts.new, "new"), (facts.vanished, "gone")]
    others = [(counted(len(names), "class", "classes"), word, _listed(names)) for names, word in classes if names]
    rest = "".join(f"; {count} {word} ({listed})" for count, word, listed in others)
    if facts.head == "kept":
        shared = counted(len(facts.kept), "class", "classes")
        return f"Fitting {facts.source} again: the head is kept for {shared} with the same name{rest}."
    return f"Fitting {facts.source} again with a new head{f': {refusal}' if refusal else ''}{rest}."


def seen_before(facts: FitAgain) -> str:
    """Which of the new images the old model knows, as a sentence; empty if it knows none."""
    uses = {"train": "training", "val": "validation"}
    found = [f"{count:,} for {uses[split]}" for split, count in facts.seen.items()]
    if not found:
        return ""
    tested = f"; {facts.seen_in_test:,} of them are test images here, so test scores may be too high"
    return f"Of these images, the old model used {' and '.join(found)}{tested if facts.seen_in_test else ''}."


def forgotten(before: float, after: float, ends: Interval, images: int, missing: int) -> str:
    """What fitting again did to the old test images, as a sentence."""
    gone = f" ({missing:,} more no longer exist)" if missing else ""
    return (
        f"On {counted(images, 'test image')} of the old run{gone} the old model had accuracy {figure(before)}; the "
        f"saved model has {figure(after)} (difference {_points(after - before)} points, 95 % interval "
        f"{_points(ends[0])} to {_points(ends[1])})."
    )


def kept_old(chosen: TriedShare, trained: TriedShare) -> str:
    """What the share of old weights costs on either split, against the trained network, as a sentence."""
    if chosen.old_share == 0:
        return (
            "The trained weights are saved unchanged: interpolating with the old weights does not improve the "
            f"two validation splits together ({figure(trained.val)} on the new one, {figure(trained.old_val)} on the "
            "old one)."
        )
    old = 100 * chosen.old_share
    return (
        f"The saved weights are {old:.0f} % old and {100 - old:.0f} % new, chosen on both validation splits: "
        f"{figure(chosen.val)} on the new one (the trained network: {figure(trained.val)}), "
        f"{figure(chosen.old_val)} on the old one ({figure(trained.old_val)})."
    )


def _listed(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def differs(found: Versus) -> bool:
    """Whether the test images tell a row from full fine-tuning: by the permutation test and by the interval."""
    low, high = found.interval95
    return found.p_holm < SIGNIFICANT and (low > 0 or high < 0)


def difference_interval(found: Versus, images: int) -> Interval:
    """The stored interval; where no image sets the two apart, how large a difference so many images may miss.

    If a share q of all images set them apart, none of n would show it with probability (1 - q)^n, which is 2.5 % at
    q = 1 - 0.025^(1/n).
    """
    low, high = found.interval95
    if low == high == 0 and images:
        missed = 1 - _TAIL ** (1 / images)
        return -missed, missed
    return low, high


def images_needed(ends: Interval, images: int, difference: float = WORTH_TELLING) -> int:
    """Test images that would narrow a 95 % interval to ± `difference`, to two digits; an estimate.

    The half width h over n images is 1.96 s / √n, where s is the standard deviation of an image's difference (the
    square root of the share of images on which two models disagree, if they are about equally good). Over m images it
    is h √(n / m), which is d at m = n (h / d)². Where no image sets two models apart, h is the largest share that may
    have been missed (`difference_interval`); n h is about 1.96² then, so that m is the number for that share.
    """
    half = (ends[1] - ends[0]) / 2
    needed = images * (half / difference) ** 2
    step = 10 ** max(0, math.floor(math.log10(max(needed, 1))) - 1)
    return int(step * math.ceil(needed / step))


def measured(scores: SplitScores, images: int) -> str:
    """`accuracy 0.517 on test (95 % interval over 60 test images: 0.383 to 0.650; one training)`."""
    accuracy = scores.accuracy
    spread = "" if accuracy.standard_error is None else f", standard error {figure(accuracy.standard_error)}"
    trainings = "one training" if accuracy.n == 1 else f"mean of {accuracy.n} trainings{spread}"
    if not isinstance(scores, TestScores):
        return f"accuracy {figure(accuracy.mean)} on validation (also used for selection; no test split; {trainings})"
    ends = interval(accuracy_interval(scores.interval95, accuracy.mean, images))
    return (
        f"accuracy {figure(accuracy.mean)} on test (95 % interval over {counted(images, 'test image')}: {ends}; "
        f"{trainings})"
    )


def evaluated(scores: Evaluation) -> str:
    """`accuracy 0.517 (95 % interval over these images: 0.383 to 0.650)`."""
    ends = interval(accuracy_interval(scores.interval95, scores.accuracy, scores.images))
    return f"accuracy {figure(scores.accuracy)} (95 % interval over these images: {ends})"


def accuracy_interval(stored: Interval, accuracy: float, images: int) -> Interval:
    """The stored interval; the exact one (Clopper and Pearson) where all images were right, or none.

    Resampling images that are all alike cannot show that others may differ.
    """
    if stored[0] == stored[1] and images and accuracy in (0, 1):
        bound = _TAIL ** (1 / images)
        return (bound, 1.0) if accuracy == 1 else (0.0, 1 - bound)
    return stored


def guessing(scores: TestScores | Evaluation) -> str:
    """Says so where a model is not better than one that always names the most frequent class; else empty.

    It is better if its accuracy is above the share of that class, or its balanced accuracy above one over the number
    of classes, by the whole of a 95 % interval over the images. Images of a single class cannot tell.
    """
    counts = [sum(line) for line in scores.confusion_matrix]
    if len(list(filter(None, counts))) < 2:
        return ""
    accuracy = scores.accuracy if isinstance(scores, Evaluation) else scores.accuracy.mean
    level = max(counts) / sum(counts)
    low, _ = accuracy_interval(scores.interval95, accuracy, sum(counts))
    if low > level + _ROUNDING or _is_balanced_skill(scores):
        return ""
    said = "no better than guessing" if accuracy <= level + _ROUNDING else "cannot be told apart from guessing"
    return f"{said} (majority-class baseline: {figure(level)})"


def guessing_on_validation(scores: SplitScores, classes: int, images: int) -> str:
    """The same without a test split, by the balanced accuracy, whose 95 % interval under guessing is binomial."""
    level = 1 / classes
    reach = 1.96 * math.sqrt(level * (1 - level) / max(images, 1))
    if scores.balanced_accuracy.mean > level + reach:
        return ""
    return f"no better than guessing (chance level: {figure(level)} balanced accuracy)"


def _is_balanced_skill(scores: TestScores | Evaluation) -> bool:
    """Whether the mean recall of the classes is above that of guessing by the whole of a 95 % interval.

    The recalls of the lowest seed, each binomial, give the standard error.
    """
    recalls = [(line[at] / sum(line), sum(line)) for at, line in enumerate(scores.confusion_matrix) if sum(line)]
    mean = sum(recall for recall, _ in recalls) / len(recalls)
    error = math.sqrt(sum(recall * (1 - recall) / count for recall, count in recalls)) / len(recalls)
    return mean - 1.96 * error > 1 / len(recalls) + _ROUNDING


def depth(curve: DepthCurve, tests: Sequence[TestScores], images: int, trainings: int) -> str:
    """What a depth curve shows: the best share and where over-fitting begins; `tests` are the scores of its rows."""
    if tests and all(map(guessing, tests)):
        return "The depth curve is uninformative: no depth does better than chance."
    return f"{_best_depth(curve, images, trainings)} {_over_fitting(curve, trainings)}"


def _best_depth(curve: DepthCurve, images: int, trainings: int) -> str:
    """Which share of the layers is best on test, all where several are, and which cannot be told apart from it."""
    highest = max(curve.test)
    best = [share for share, score in zip(curve.shares, curve.test, strict=True) if score >= highest - _ROUNDING]
    others = [f"{share:g}" for share in curve.alike if share not in best]
    which = "them" if len(best) > 1 else "it"
    others_too = (
        f"{counted(images, 'test image')} cannot tell {', '.join(others)} % apart from {which}"
        if others
        else f"all other shares are worse on {counted(images, 'test image')}"
    )
    seeds = "test images; one training each, so another seed may differ" if trainings == 1 else "test images and seeds"
    shares = f"{' and '.join(f'{share:g}' for share in best)} % of the layers{', tied' if len(best) > 1 else ''}"
    return f"Highest on test ({figure(highest)}): {shares}; {others_too} (95 %, paired over {seeds})."


def _over_fitting(curve: DepthCurve, trainings: int) -> str:
    """Whether the gap between train and test accuracy grows with depth; one training of each share cannot say."""
    if trainings < 2:
        return "One training per share cannot show whether the gap between train and test accuracy grows with depth."
    over = f"95 %, over train images, test images and {trainings} seeds, simultaneous over the shares"
    if curve.over_fitting_from is None:
        return f"The gap between train and test accuracy is not shown to grow with depth ({over})."
    return f"The gap between train and test accuracy has grown at {curve.over_fitting_from:g} % and beyond ({over})."


def before_fine_tuning(head: str) -> str:
    """What predictions before fine-tuning are worth, by the head that made them: linear_probe or fine_tuned."""
    if head == "linear_probe":
        return (
            "Before fine-tuning, the head is a linear probe: a logistic regression on the features of training "
            "images. It makes no prediction for images that it was fitted to."
        )
    return (
        "Before fine-tuning, the head is the fine-tuned one, since no linear probe could be fitted. It was trained on "
        "other features, so these predictions mean little."
    )


def is_worse_mirrored(found: MirrorTest) -> bool:
    """Whether mirror images are recognized worse, by more than chance and by more than a trifle.

    Of 24 development splits of twelve data sets, the log-loss rises by 48 and 49 % on digits (p < 0.0001), elsewhere by
    10 % at most (p > 0.1): benchmarks/README.md, "The mirror test". To train without flips that might have helped is
    the smaller mistake, so the level is not stricter.
    """
    return found.p < MIRRORED_P and _rises(found)


def _rises(found: MirrorTest) -> bool:
    rise = found.mirrored_log_loss - found.log_loss
    return rise >= max(MIRRORED_RISE * found.log_loss, MIRRORED_NATS)


def mirrored(found: MirrorTest) -> str:
    """Whether training images are flipped, and the figures of the mirror test."""
    figures = (
        f"accuracy {figure(found.accuracy)} as they are and {figure(found.mirrored_accuracy)} mirrored, log-loss "
        f"{figure(found.log_loss)} and {figure(found.mirrored_log_loss)}"
    )
    images = counted(found.images, "validation image")
    if is_worse_mirrored(found):
        chance = f"p = {found.p:.2g}" if found.p >= 0.001 else "p < 0.001"
        return (
            "Flips off: your classes are not mirror-symmetric. A linear probe is clearly worse on mirrored images: "
            f"{figures} ({images}, {chance})."
        )
    if _rises(found):
        return (
            f"Flips on: {images} cannot show whether your classes are mirror-symmetric. A linear probe recognizes them "
            f"with {figures} (p = {found.p:.2g})."
        )
    return f"Flips on: a linear probe recognizes mirrored images about as well: {figures} ({images})."


def not_mirrored(reason: str) -> str:
    """That training images are flipped for want of a mirror test."""
    return (
        f"Flips on: whether your classes are mirror-symmetric cannot be measured, because {reason}; augment "
        "mild_no_flip turns flips off."
    )


def refitted(images: int, trainings: Iterable[tuple[int, FineTunePlan]]) -> str:
    """Which model the scores are of, and which one is saved, after a refit on so many images of train and val.

    `trainings` are the number of epochs and the plan of each.
    """
    trained = sorted({counted(epochs, "epoch") if epochs else _untrained(plan) for epochs, plan in trainings}, key=len)
    return (
        f"The saved model was refitted on train and val together ({counted(images, 'image')}; {', '.join(trained)}). "
        "It has no score of its own: every score here is of the model before the refit, trained on train alone."
    )


def _untrained(plan: FineTunePlan) -> str:
    if plan.is_solved:
        return "solved"
    return "statistics recomputed" if plan.statistics == "recomputed" else "nothing trained"


def calibrated(found: Calibration, *, refitted: bool = False) -> str:
    """Whether and how the probabilities of the saved model are scaled, and what that changed."""
    images = counted(found.images, "validation image")
    if found.temperature == 1:
        if found.gain_error is None:
            return f"No temperature scaling: {images} are too few to fit a temperature."
        return f"No temperature scaling: no temperature clearly lowers the log-loss on {images}."
    split, before, after = "validation", found.val_before, found.val_after
    if found.test_before is not None and found.test_after is not None:
        split, before, after = "test", found.test_before, found.test_after
    whose = " before the refit" if refitted else ""
    return (
        f"The saved model's logits are divided by a temperature of {figure(found.temperature)}, fitted on "
        f"{images}{whose}; its calibration error on {split} is {figure(after)} instead of {figure(before)}. Predicted "
        "classes do not change. `predict`, `evaluate` and exports apply the temperature; timm, transformers and the "
        "scores of this run do not."
    )


def started_from(request: Mapping[str, object]) -> str:
    """What frozen blocks are identical to: known to be pretrained only where neither random nor the user's own."""
    return FROM_START if request.get("weights") == "random" or _is_own(request) else FROM_PRETRAINED


def start_warning(request: Mapping[str, object]) -> str:
    """Why freezing may make no sense; empty for pretrained weights."""
    if request.get("weights") == "random":
        return RANDOM_START
    return UNKNOWN_START if _is_own(request) and request.get("weights") is None else ""


def _is_own(request: Mapping[str, object]) -> bool:
    return str(request.get("model")).rpartition(":")[0].endswith(".py")


def frozen_kept(frozen: int, request: Mapping[str, object], plan: FineTunePlan | None = None) -> str:
    """What was checked of the frozen blocks, and whether it was sensible to freeze them; empty without any.

    What `plan` recomputes without training is left out.
    """
    if not frozen:
        return ""
    but = " except for the recomputed statistics" if plan is not None and plan.statistics == "recomputed" else ""
    start = started_from(request)
    kept = f"{counted(frozen, 'frozen block')} bit-identical to {start}{but}, checked after every training."
    return " ".join(filter(None, (kept, start_warning(request))))


def _unconfirmed(found: Versus) -> Sequence[str]:
    """Where the permutation test and the interval disagree."""
    low, high = found.interval95
    if found.p_holm < SIGNIFICANT:
        return [f"p = {found.p_holm:.2g} over test images, but the interval reaches 0"]
    if low > 0 or high < 0:
        chance = f" (p = {found.p_holm:.2g} over test images)" if found.p_holm < 0.995 else ""
        return [f"a permutation test, adjusted for all rows, does not confirm the difference{chance}"]
    return []


def _too_few(ends: Interval, images: int) -> Sequence[str]:
    if (ends[1] - ends[0]) / 2 <= WORTH_TELLING:
        return []
    narrow = f"about {images_needed(ends, images):,} would narrow the interval to ± {100 * WORTH_TELLING:g} points"
    return [f"{counted(images, 'test image')} {'is' if images == 1 else 'are'} too few: {narrow}"]


def _points(difference: float) -> str:
    """A difference of accuracies in points, never -0.0."""
    return f"{round(100 * difference, 1) + 0.0:+.1f}"
