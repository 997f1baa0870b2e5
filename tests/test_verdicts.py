"""What the sentences claim, against figures whose meaning is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.report.synthetic import DEPTH, comparison, fit_results, row, scores, scores_on_test
from thawline import verdicts
from thawline.report import summary
from thawline.results import Evaluation, MirrorTest, TestScores, Versus
from thawline.studies.depth_curve import depth_curve
from thawline.training.significance import compare

HEAD_ALONE = (None, None, None, 1e-2)
EVERYTHING = (1e-3, 1e-3, 1e-3, 1e-3)


def versus(difference: float, low: float, high: float, p: float, *, images: int = 60, trainings: int = 1) -> Versus:
    found = Versus(difference=difference, interval95=(low, high), p_holm=p, words="")
    return replace(found, words=verdicts.against_full(found, images, trainings))


def on_test(matrix: list[list[int]], low: float, high: float, *, seeds: int = 1) -> TestScores:
    """Scores of a confusion matrix, with that interval."""
    total, right = sum(map(sum, matrix)), sum(matrix[at][at] for at in range(len(matrix)))
    plain = scores_on_test(right / total, seeds=seeds)
    return replace(plain, interval95=(low, high), confusion_matrix=matrix)


def always(name: int, counts: list[int]) -> list[list[int]]:
    """A model that names one class whatever it sees."""
    return [[count if at == name else 0 for at in range(len(counts))] for count in counts]


# F1: a difference that so many images cannot show


def test_a_tie_has_its_interval_and_says_how_many_images_would_do() -> None:
    words = versus(0.0, -0.15, 0.15, 1.0).words
    assert words == (
        "cannot be told apart from full: +0.0 points (95 % interval over 60 test images: -15.0 to +15.0; one training "
        "each, so another seed may differ); "
        "60 test images are too few: about 3,400 would narrow the interval to ± 2 points"
    )


@pytest.mark.parametrize("p", [1.0, 0.9999, 0.4, 0.06])
def test_no_p_value_stands_as_proof_of_equality(p: float) -> None:
    assert "p =" not in versus(0.01, -0.03, 0.05, p).words


def test_a_narrow_interval_is_not_called_too_few_images() -> None:
    words = versus(0.003, -0.009, 0.015, 0.7, images=5000, trainings=3).words
    assert words.endswith(
        "(95 % interval over 5,000 test images: -0.9 to +1.5; 3 trainings each, whose variation is not in the interval)"
    )


@pytest.mark.thorough
def test_so_many_images_narrow_the_interval_as_said() -> None:
    """The estimate from 200 images, tried: the interval over as many as it asks for is ± 2 points wide."""
    generator = np.random.default_rng(0)

    def half_width(images: int) -> tuple[float, tuple[float, float]]:
        difference = generator.choice([-1.0, 0.0, 1.0], images, p=[0.1, 0.8, 0.1])
        ends = compare(difference, np.zeros(images)).interval95
        return (ends[1] - ends[0]) / 2, ends

    needed = verdicts.images_needed(half_width(200)[1], 200)
    assert 1500 < needed <= 2500
    assert half_width(needed)[0] == pytest.approx(0.02, rel=0.2)


def test_the_same_answers_on_few_images_are_no_proof_either() -> None:
    words = versus(0.0, 0.0, 0.0, 1.0).words
    assert "95 % interval over 60 test images: -6.0 to +6.0" in words, "0.94^60 = 2.5 %"
    assert "60 test images are too few" in words


def test_the_two_tests_must_agree() -> None:
    adjusted = versus(0.05, 0.01, 0.09, 0.08).words
    assert adjusted.startswith("cannot be told apart from full: +5.0 points")
    assert "does not confirm the difference (p = 0.08 over test images)" in adjusted
    assert "but the interval reaches 0" in versus(0.05, 0.0, 0.1, 0.049).words
    assert "p = 1" not in versus(1.0, 1.0, 1.0, 1.0, images=1).words


# F3: one kind of interval


@pytest.mark.parametrize(
    ("seeds", "trainings"), [(1, "one training"), (3, "mean of 3 trainings, standard error 0.012")]
)
def test_the_interval_is_of_one_named_kind_however_many_seeds(seeds: int, trainings: str) -> None:
    answer = summary.headline(fit_results(row("x", HEAD_ALONE, 0.7, 1.0, test=True, versus_full=None)))
    assert "±" not in answer
    words = verdicts.measured(scores_on_test(0.7, seeds=seeds), 60)
    assert words == f"accuracy 0.700 on test (95 % interval over 60 test images: 0.660 to 0.740; {trainings})"


def test_all_images_right_are_not_a_certainty() -> None:
    perfect = replace(scores_on_test(1.0, seeds=1), interval95=(1.0, 1.0))
    assert "(95 % interval over 25 test images: 0.863 to 1.000;" in verdicts.measured(perfect, 25)


# F4: what a significant difference is over


def test_one_training_each_never_claims_more_than_its_images() -> None:
    words = versus(0.15, 0.033, 0.267, 0.035).words
    assert words == (
        "15.0 points better than full (95 % interval over 60 test images: +3.3 to +26.7; Holm-adjusted p = 0.035 over "
        "test images; one training each, so another seed may differ)"
    )
    assert versus(-0.15, -0.267, -0.033, 0.0002, trainings=3).words == (
        "15.0 points worse than full (95 % interval over 60 test images: -26.7 to -3.3; Holm-adjusted p < 0.001 over "
        "test images; 3 trainings each, whose variation is not in the interval)"
    )


# F5: guessing


def guesser() -> TestScores:
    return on_test(always(0, [12] * 5), 0.1, 0.3)


def test_guessing_is_called_guessing() -> None:
    assert verdicts.guessing(guesser()) == "no better than guessing (majority-class baseline: 0.200)"
    above = on_test([[5, 1, 1, 1, 1], [2, 2, 2, 2, 1], *([[2, 2, 2, 2, 1]] * 3)], 0.12, 0.4)
    assert verdicts.guessing(above).startswith("cannot be told apart from guessing (majority-class baseline: 0.200")


def test_nothing_is_recommended_that_only_guesses() -> None:
    found = row("linear_probe", HEAD_ALONE, 0.2, 1.0, test=True, versus_full=None)
    found = replace(found, test=guesser())
    answer = summary.headline(fit_results(found))
    assert answer.startswith("Nothing to recommend: no better than guessing (majority-class baseline: 0.200")
    assert "Train the head" not in answer
    compared = comparison(found)
    assert summary.comparison_headline(compared).startswith("Nothing to recommend: the best on validation is no better")
    assert summary.fit_command(compared) is None
    assert "guessing" in summary.table_row(found, compared.data).verdict


def test_the_majority_class_is_guessing_and_skill_on_rare_classes_is_not() -> None:
    assert verdicts.guessing(on_test(always(0, [90, 10]), 0.84, 0.95))
    skilled = [[80, 10], [1, 9]]  # as accurate as naming the first class, but right about the second
    assert verdicts.guessing(on_test(skilled, 0.82, 0.95)) == ""
    assert verdicts.guessing(on_test([[50, 0], [0, 50]], 1.0, 1.0)) == ""


def test_guessing_without_a_test_split_is_by_the_classes() -> None:
    assert verdicts.guessing_on_validation(scores(0.21), 5, 60) == (
        "no better than guessing (chance level: 0.200 balanced accuracy)"
    )
    assert verdicts.guessing_on_validation(scores(0.4), 5, 60) == ""


def test_images_of_one_class_cannot_tell_guessing() -> None:
    assert verdicts.guessing(on_test([[5, 0], [0, 0]], 1.0, 1.0)) == ""


def test_an_evaluation_that_guesses_says_so() -> None:
    found = Evaluation(
        data="photos",
        split="test",
        images=60,
        accuracy=0.2,
        balanced_accuracy=0.2,
        macro_precision=0.04,
        macro_recall=0.2,
        macro_f1=0.07,
        negative_log_likelihood=1.6,
        calibration_error=0.1,
        interval95=(0.1, 0.3),
        confusion_matrix=always(0, [12] * 5),
        per_class=[],
        unreadable=[],
        at="2026-11-25T00:00:00+00:00",
    )
    assert verdicts.guessing(found).startswith("no better than guessing")
    assert verdicts.evaluated(found) == "accuracy 0.200 (95 % interval over these images: 0.100 to 0.300)"


# F2: depth


def hits(*counts: int, images: int = 25) -> np.ndarray:
    """[k, 1, images]: so many of the images right."""
    return np.array([[np.arange(images) < count] for count in counts])


def test_one_seed_cannot_say_where_over_fitting_begins() -> None:
    shares, train = np.array([0.0, 25, 50]), np.array([[0.6], [0.9], [1.0]])
    curve = depth_curve(shares, train, hits(15, 15, 5), 100)
    assert curve.over_fitting_from is None
    assert "One training per share cannot show" in verdicts.depth(curve, [scores_on_test(0.6, seeds=1)] * 3, 25, 1)


def test_a_gap_that_grows_at_one_share_only_has_not_grown() -> None:
    shares = np.array([0.0, 25, 50])
    train = np.array([[0.60] * 3, [1.0] * 3, [0.62] * 3])
    right = np.repeat(hits(150, 150, 150, images=250), 3, axis=1)
    curve = depth_curve(shares, train, right, 500)
    assert curve.gap_growth[1][0] > 0
    assert curve.over_fitting_from is None
    lasting = depth_curve(shares, np.array([[0.60] * 3, [1.0] * 3, [1.0] * 3]), right, 500)
    assert lasting.over_fitting_from == 25


def test_train_images_are_drawn_anew_too() -> None:
    """The same test images right at both shares: all that is uncertain is which train images there were."""
    right = np.repeat(hits(15, 15), 3, axis=1)
    few, many = (
        depth_curve(np.array([0.0, 25]), np.array([[0.6] * 3, [0.9] * 3]), right, images) for images in (20, 20_000)
    )
    width = [curve.gap_growth[1][1] - curve.gap_growth[1][0] for curve in (few, many)]
    assert width[0] > 0.3
    assert width[1] < 0.05


def test_a_curve_of_guesses_says_nothing() -> None:
    words = verdicts.depth(DEPTH, [guesser()] * 3, 60, 3)
    assert words == "The depth curve is uninformative: no depth does better than chance."


# F6: what frozen blocks are identical to


@pytest.mark.parametrize(
    ("model", "weights", "start", "warning"),
    [
        ("mobilenetv2_050", None, "the pretrained network", ""),
        ("mobilenetv2_050", "random", "the starting weights", "freezing makes no sense"),
        ("net.py:make", None, "the starting weights", "cannot tell whether your code loads pretrained weights"),
        ("net.py:make", "net.safetensors", "the starting weights", ""),
        ("net.py:make", "random", "the starting weights", "freezing makes no sense"),
    ],
)
def test_only_pretrained_weights_are_called_pretrained(
    model: str, weights: str | None, start: str, warning: str
) -> None:
    words = verdicts.frozen_kept(3, {"model": model, "weights": weights})
    assert words.startswith(f"3 frozen blocks bit-identical to {start}, checked after every training.")
    assert warning in words
    assert bool(warning) == ("random" in words or "pretrained weights" in words)
    assert verdicts.frozen_kept(0, {"model": model, "weights": weights}) == ""


# one place


def test_the_stored_answer_is_what_str_gives() -> None:
    found = fit_results(row("x", HEAD_ALONE, 0.7, 1.0, test=True, versus_full=versus(0.0, -0.1, 0.1, 1.0)))
    found = replace(found, answer=summary.headline(found))
    assert str(found) == found.to_dict()["answer"] == summary.headline(found)
    assert "Cannot be told apart from full: +0.0 points" in str(found)


# Flips


def mirrored(log_loss: float, mirrored_log_loss: float, p: float, images: int = 250) -> str:
    found = MirrorTest(
        images=images,
        passes=900,
        log_loss=log_loss,
        mirrored_log_loss=mirrored_log_loss,
        accuracy=0.892,
        mirrored_accuracy=0.84,
        p=p,
    )
    return verdicts.mirrored(found)


def test_flips_go_off_only_where_mirror_images_are_clearly_worse() -> None:
    figures = "accuracy 0.892 as they are and 0.840 mirrored, log-loss"
    assert mirrored(0.347, 0.515, 1e-5) == (
        "Flips off: your classes are not mirror-symmetric. A linear probe is clearly worse on mirrored images: "
        f"{figures} 0.347 and 0.515 (250 validation images, p < 0.001)."
    )
    assert "p = 0.0052)" in mirrored(0.347, 0.515, 0.0052)
    assert mirrored(0.347, 0.515, 0.06, images=12) == (
        "Flips on: 12 validation images cannot show whether your classes are mirror-symmetric. A linear probe "
        f"recognizes them with {figures} 0.347 and 0.515 (p = 0.06)."
    )
    on = f"Flips on: a linear probe recognizes mirrored images about as well: {figures}"
    assert mirrored(0.886, 0.898, 0.25) == f"{on} 0.886 and 0.898 (250 validation images)."
    assert mirrored(0.886, 0.97, 1e-9).startswith(on)
    assert mirrored(0.002, 0.008, 1e-9).startswith(on)
