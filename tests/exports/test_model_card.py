from __future__ import annotations

import dataclasses
from dataclasses import replace

import pytest
import yaml  # type: ignore[import-untyped]

from thawline.config import Preprocessing
from thawline.exports.model_card import SHOWN_NAMES, CardBlock, CardMetric, ModelCard, model_card

CARD = ModelCard(
    architecture="mobilenetv2_050",
    base_model="local-dir:weights/mobilenetv2_050",
    strategy="last_blocks:k=1",
    label_names=("cat", "dog"),
    blocks=(
        CardBlock("stem", 900, None, frozen=True),
        CardBlock("blocks.6", 2_000, 3e-4, frozen=False),
        CardBlock("head", 100, 0.01, frozen=False),
    ),
    trainable_percent=70.0,
    dataset="photos",
    split_counts={"train": 1_200, "val": 400, "test": 400},
    preprocessing=Preprocessing(96, "bicubic", 0.875, "center", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
    decoding="Pillow decodes the first frame.",
    snippet="import timm\nmodel = 1",
    versions={"thawline": "0.1.0", "torch": "2.14.1", "optuna": None},
    license="apache-2.0",
    test_metrics=(CardMetric("accuracy", 0.6931, 3, 0.0123, (0.65, 0.74)), CardMetric("macro f1", 0.68, 1)),
)


def head(card: ModelCard) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load(model_card(card).split("---\n")[1])
    return found


def test_head_is_what_the_hub_reads() -> None:
    assert head(replace(CARD, hub_model="timm/mobilenetv2_050.lamb_in1k")) == {
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "timm", "transformers", "thawline"],
        "license": "apache-2.0",
        "base_model": "timm/mobilenetv2_050.lamb_in1k",
        "metrics": ["accuracy", "f1"],
        "model-index": [
            {
                "name": "mobilenetv2_050",
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {"name": "photos", "type": "imagefolder", "split": "test"},
                        "metrics": [
                            {"type": "accuracy", "value": 0.6931, "name": "accuracy"},
                            {"type": "f1", "value": 0.68, "name": "macro f1"},
                        ],
                    }
                ],
            }
        ],
    }


def test_the_head_has_no_scores_of_another_model() -> None:
    for other in (
        replace(CARD, refit="Trained once more."),
        replace(CARD, member=(1, 3)),
        replace(CARD, test_metrics=()),
    ):
        assert not {"metrics", "model-index", "base_model"} & head(other).keys()


def test_data_set_of_the_hub_stands_in_the_head() -> None:
    assert head(dataclasses.replace(CARD, hub_dataset="uoft-cs/cifar10"))["datasets"] == ["uoft-cs/cifar10"]


@pytest.mark.parametrize("words", ["mit\nevil: 1", "a: b", "---", "", "<b>", "../up", "- x"])
def test_head_cannot_be_broken(words: str) -> None:
    found = head(replace(CARD, license=words, hub_dataset=words, hub_model=words, dataset=words))
    assert {"license", "datasets", "base_model"} & found.keys() == set()


def test_card_says_what_was_trained_and_what_was_frozen() -> None:
    text = model_card(CARD)
    assert "| stem | 900 | frozen |" in text
    assert "| blocks.6 | 2,000 | 0.0003 |" in text
    assert "70 % of 3,000 parameters; the frozen blocks are identical to the pretrained network, bit for bit" in text


def test_card_says_how_it_was_trained_and_that_a_head_was_solved() -> None:
    blocks = (CARD.blocks[0], CardBlock("head", 100, None, frozen=False))
    text = model_card(replace(CARD, blocks=blocks, trained=["The head is the linear probe.", "Batch norm: kept."]))
    assert "| head | 100 | solved |" in text
    assert "The head is the linear probe.\nBatch norm: kept.\n\n| block |" in text


def test_nothing_is_said_of_frozen_blocks_when_all_trained() -> None:
    blocks = (CardBlock("head", 100, 0.01, frozen=False),)
    assert "the frozen blocks" not in model_card(dataclasses.replace(CARD, blocks=blocks))


def test_metrics_carry_their_uncertainty() -> None:
    text = model_card(CARD)
    assert "| accuracy | 0.693 | 0.012 | 3 | 0.650 to 0.740 |" in text
    assert "| macro f1 | 0.680 |  | 1 |  |" in text


def test_without_test_split_there_are_no_figures() -> None:
    text = model_card(dataclasses.replace(CARD, test_metrics=()))
    assert "no test split" in text
    assert "accuracy" not in text


def test_data_preprocessing_decoding_and_versions_are_in_words() -> None:
    text = model_card(CARD)
    assert "1,200 train, 400 val, 400 test images" in text
    assert "shorter side is resized (bicubic) to 109 pixels, then the central 96 x 96 pixels are taken" in text
    assert "normalized with mean 0.5, 0.5, 0.5 and standard deviation 0.25, 0.25, 0.25" in text
    assert "Pillow decodes the first frame." in text
    assert "thawline 0.1.0, torch 2.14.1" in text
    assert "optuna" not in text


@pytest.mark.parametrize(("mode", "words"), [("squash", "Both sides"), ("border", "padded with the mean color")])
def test_other_ways_to_crop_are_in_words(mode: str, words: str) -> None:
    preprocessing = dataclasses.replace(CARD.preprocessing, crop_mode=mode)
    assert words in model_card(dataclasses.replace(CARD, preprocessing=preprocessing))


def test_snippet_stands_unescaped_and_num_classes_is_warned_of() -> None:
    text = model_card(dataclasses.replace(CARD, snippet="name_with_underscores = '<b>'"))
    assert "```python\nname_with_underscores = '<b>'\n```" in text
    assert "drops the trained head" in text  # trap 5


def test_hostile_names_cannot_break_the_page() -> None:
    names = ("<script>alert(1)</script>", "a|b", "two\n# lines", "\u202eevil", "![x](y)")
    text = model_card(dataclasses.replace(CARD, label_names=names, dataset="<img>\n\n# x", base_model="`rm`"))
    assert "<script" not in text
    assert "<img" not in text
    assert "\u202e" not in text
    assert "\n# lines" not in text
    rows = [line for line in text.splitlines() if line.startswith(tuple(f"| {index} |" for index in range(len(names))))]
    assert len(rows) == len(names)
    assert all(row.replace(r"\|", "").count("|") == 3 for row in rows)


def test_long_lists_of_names_are_cut_and_counted() -> None:
    text = model_card(dataclasses.replace(CARD, label_names=[f"class {i}" for i in range(SHOWN_NAMES + 7)]))
    assert f"class {SHOWN_NAMES - 1} |" in text
    assert f"class {SHOWN_NAMES} |" not in text
    assert "7 more are not shown." in text


def test_the_answer_stands_above_the_figures() -> None:
    text = model_card(replace(CARD, answer="Cannot be told from full."))
    assert "## Test\n\nCannot be told from full.\n\nScored once" in text
    assert "## Test\n\nScored once" in model_card(CARD)


def test_random_weights_are_not_called_pretrained() -> None:
    text = model_card(replace(CARD, start="the starting weights", warning="Freezing makes no sense."))
    assert (
        "identical to the starting weights, bit for bit, running statistics included. Freezing makes no sense." in text
    )
    assert "pretrained network" not in text
