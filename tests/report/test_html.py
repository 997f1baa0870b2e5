"""The page as text: sections in order, nothing from elsewhere, every name escaped, small, drawn without torch."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.report.synthetic import BLOCKS, HOSTILE, noise, write_explanation, write_run
from thawline.errors import RunFolderError
from thawline.plan import FineTunePlan, Ingredient, Mixture, Phase
from thawline.records import read_json, write_json
from thawline.report.thumbnails import thumbnails
from thawline.runs.files import read_run, write_thumbnails
from thawline.runs.reporting import write_report

SECTIONS = [
    "answer",
    "network",
    "league",
    "front",
    "search",
    "depth",
    "confusion",
    "classes",
    "calibration",
    "examples",
    "moved",
    "audit",
    "reproduce",
]
VOID = {"meta", "img", "br", "input", "hr", "link", "wbr"}


class Page(HTMLParser):
    """Tags with their attributes, and the text outside style and script; balanced or an assertion fails."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def sections(self) -> list[str]:
        return [str(attrs["id"]) for tag, attrs in self.tags if tag in ("header", "section")]


def page(folder: Path) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))


def test_a_comparison_has_every_section_in_order(tmp_path: Path) -> None:
    drawn = page(write_run(tmp_path, classes=("a", "b", "c")))
    assert drawn.sections == SECTIONS
    assert "biotune:top=2,seeds=1 at 1e" in drawn.text
    assert "accuracy 0.800 on test" in drawn.text
    assert "failed: the loss became <NaN>" in drawn.text
    assert "25 % of the layers" in drawn.text


def test_a_fit_has_its_sections(tmp_path: Path) -> None:
    drawn = page(write_run(tmp_path, classes=("a", "b"), verb="fit"))
    assert drawn.sections == [name for name in SECTIONS if name != "depth"]
    assert "optimizer = torch.optim.AdamW" in drawn.text
    assert "thawline compare '<data>' --out run" in drawn.text


def test_a_solved_probe_is_drawn_without_a_rate(tmp_path: Path) -> None:
    folder = write_run(tmp_path, classes=("a", "b"), verb="fit")
    stored = read_json(folder / "results.json")
    rates: dict[str, float | None] = dict.fromkeys(BLOCKS)
    solved = FineTunePlan((Phase(rates),), head_start="probe").to_dict()
    del stored["search"]
    stored |= {"plan": solved, "learning_rate": 0.0, "probe_strength": 1e-2, "baselines": {}}
    stored["blocks"][:] = [{**block, "learning_rate": None, "frozen": True} for block in stored["blocks"]]
    stored["blocks"][-1]["frozen"] = False
    write_json(folder / "results.json", stored)
    drawn = page(folder)
    for words in (
        "Solve the head alone as a linear probe (L2 1e\u20112)",
        "solved, without a learning rate",
        "The head is the linear probe: a logistic regression",
        "was solved, not trained, so there is no optimizer to show",
    ):
        assert words in drawn.text
    assert "0e0" not in drawn.text
    assert [attrs for tag, attrs in drawn.tags if attrs.get("class") == "cell solved"]


def test_batch_norm_and_head_start_are_said_of_each_plan(tmp_path: Path) -> None:
    folder = write_run(tmp_path, classes=("a", "b"))
    assert "atch norm" not in page(folder).text
    stored = read_json(folder / "comparison.json")
    for number, mode in ((1, "moving"), (2, "kept")):
        stored["rows"][number]["batch_norm"] = mode
    write_json(folder / "comparison.json", stored)
    drawn = page(folder).text
    for words in (
        "full at 1e-3; head from random weights; batch norm with batch statistics",
        "batch norm kept, head start random",
        "The winning plan: head from random weights; batch norm keeps its running statistics.",
        "Batch norm of the trained blocks: kept.",
        "moving = batch statistics",
    ):
        assert words in drawn


def test_without_a_test_split_the_page_speaks_of_validation(tmp_path: Path) -> None:
    drawn = page(write_run(tmp_path, classes=("a", "b"), test=False))
    assert "60 validation images" in drawn.text
    assert "test images" not in drawn.text


def test_a_comparison_in_which_everything_failed_is_drawn(tmp_path: Path) -> None:
    folder = write_run(tmp_path, classes=("a", "b"))
    stored = read_json(folder / "comparison.json")
    write_json(folder / "comparison.json", {**stored, "rows": stored["rows"][-1:]})
    assert "No strategy could be trained." in page(folder).text


@pytest.mark.parametrize("verb", ["fit", "compare"])
def test_nothing_comes_from_elsewhere(tmp_path: Path, verb: str) -> None:
    for tag, attributes in page(write_run(tmp_path, classes=HOSTILE, verb=verb)).tags:
        assert tag not in ("iframe", "object", "base", "link"), tag
        assert not [name for name in attributes if name.startswith("on")], attributes
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/")), attributes


@pytest.mark.parametrize("count", [len(HOSTILE), 200])
def test_hostile_names_are_text(tmp_path: Path, count: int) -> None:
    names = [f"{HOSTILE[at % len(HOSTILE)]}{at or ''}" for at in range(count)]
    folder = write_run(tmp_path, classes=names, images=2 * count)
    drawn = page(folder)
    assert drawn.sections == SECTIONS
    assert [attrs.get("type") for tag, attrs in drawn.tags if tag == "script"] == ["application/json", None]
    assert all(" ".join(name.split()) in drawn.text for name in names)


def test_many_classes_have_a_map_and_a_list(tmp_path: Path) -> None:
    drawn = page(write_run(tmp_path, classes=[f"class {at}" for at in range(200)], images=600))
    assert "The most frequent confusions" in drawn.text
    assert "The other 175 classes" in drawn.text
    assert any(attrs.get("class") == "map" for tag, attrs in drawn.tags if tag == "figure")


@pytest.mark.thorough
def test_the_page_stays_small_whatever_the_images(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", classes=[f"{at} {'x' * 230}" for at in range(30)], images=900)
    run = read_run(folder)
    assert run.predictions is not None
    for guess in run.predictions.guesses:
        noise(tmp_path / "data" / guess.path, 96)
    write_thumbnails(folder, thumbnails(run.predictions, tmp_path / "data", {}))
    assert len(read_json(folder / "thumbnails.json")["images"]) > 100
    assert write_report(folder).stat().st_size < 5_000_000


def test_what_explain_left_is_drawn(tmp_path: Path) -> None:
    folder = write_run(tmp_path, classes=("a", "b"), verb="fit")
    assert "Not measured in this run" in page(folder).text
    write_explanation(folder)
    drawn = page(folder)
    assert "went from 0.910 to 0.420" in drawn.text
    assert "elsewhere/<new>.png" in drawn.text
    overlays = [attrs["alt"] for tag, attrs in drawn.tags if tag == "img" and "Grad-CAM" in str(attrs["alt"])]
    assert overlays == ["Grad-CAM before fine-tuning", "Grad-CAM of depth-<25>"]  # that of after is gone


@pytest.mark.thorough
def test_drawing_imports_no_torch(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a run", classes=("a", "b"))
    script = (
        "import sys\n"
        f"sys.argv = ['thawline', 'report', {str(folder)!r}]\n"
        "from thawline.cli.app import main\n"
        "try:\n    main()\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "heavy = {'torch', 'timm', 'sklearn', 'optuna', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(folder / "report.html")
    assert (folder / "report.html").is_file()


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="not a run folder"):
        write_report(tmp_path)
    write_json(tmp_path / "run.json", {})
    with pytest.raises(RunFolderError, match="is not finished; `thawline resume"):
        write_report(tmp_path)
    write_json(tmp_path / "results.json", {"format_version": 99})
    with pytest.raises(RunFolderError, match="has format_version 99; this thawline reads 1"):
        write_report(tmp_path)


def test_drawing_twice_gives_the_same_page(tmp_path: Path) -> None:
    folder = write_run(tmp_path, classes=("a", "b"))
    assert write_report(folder).read_bytes() == write_report(folder).read_bytes()


def test_a_search_by_rungs_says_when_candidates_were_compared(tmp_path: Path) -> None:
    folder = write_run(tmp_path, classes=("a", "b", "c"))
    assert "scores may fall" in page(folder).text
    stored = read_json(folder / "comparison.json")
    found = next(row["search"] for row in stored["rows"] if row.get("search"))
    found |= {"rungs": [2, 4, 12], "settings": {"without": "none"}}
    for number, candidate in enumerate(found["candidates"]):
        candidate |= {"fold": None, "epochs": (2, 4, 12)[number % 3], "early_score": 0.9 - number / 100}
    write_json(folder / "comparison.json", stored)
    drawn = page(folder).text
    assert "12 candidates: proposals were compared after 2, 4, 12 epochs, and the best of them trained further" in drawn
    assert "generation (0 = the baselines)" in drawn
    assert "Scores are those after 2 epochs, which all candidates reached" in drawn
    assert "scores may fall" not in drawn


def test_an_average_is_not_called_the_plan_that_won_the_search(tmp_path: Path) -> None:
    folder = write_run(tmp_path, classes=("a", "b"), verb="fit")
    stored = read_json(folder / "results.json")
    plan = FineTunePlan.from_dict(stored["plan"])
    mixed = replace(plan, mixture=Mixture("weights", (Ingredient(plan, 1),)))
    write_json(folder / "results.json", {**stored, "plan": mixed.to_dict()})
    drawn = page(folder).text
    assert "The returned model: mean weights of 2 trainings (1: " in drawn
    assert "2: the same as 1 with another seed; head from random weights" in drawn
    assert "The winning plan" not in drawn


def test_why_training_images_are_flipped_or_not_comes_before_the_search(tmp_path: Path) -> None:
    folder = write_run(tmp_path, classes=("a", "b"), verb="fit")
    stored = read_json(folder / "results.json")
    figures = {"images": 60, "passes": 220, "log_loss": 0.3, "mirrored_log_loss": 0.5, "p": 1e-5}
    test = {**figures, "accuracy": 0.9, "mirrored_accuracy": 0.8}
    words = "Flips off: because."
    choice = {"augment": "mild_no_flip", "words": words, "work": 0.05, "mirror_test": test}
    write_json(folder / "results.json", {**stored, "augmentation": choice})
    drawn = page(folder)
    assert drawn.sections == [name for name in SECTIONS if name != "depth"]
    order = [
        drawn.text.index(part)
        for part in ("The search", "the mirror test: a linear probe", words, "12 trainings, 6.50 full")
    ]
    assert order == sorted(order)
    del choice["mirror_test"]
    write_json(folder / "results.json", {**stored, "augmentation": choice})
    assert words in page(folder).text
    assert "the mirror test" not in page(folder).text


def test_the_scores_by_generation_have_a_legend(tmp_path: Path) -> None:
    page = write_report(write_run(tmp_path / "run", classes=["a", "b"])).read_text(encoding="utf-8")
    assert 'Score by generation: <i class="main"></i> best of the population, each on another part' in page
    assert '<i class="quiet"></i> mean of the population; whiskers: quartiles; no line where' in page


def test_names_of_networks_break_at_their_joints_only(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", classes=["a", "b"])
    stored = read_json(folder / "comparison.json")
    name = "tf_efficientnet_lite0.in1k at 96 px"
    networks = [{"name": name, "model": "tf_efficientnet_lite0.in1k", "asked_size": 96, "folder": "models/a"}]
    rows = [{**row, "network": name} for row in stored["rows"]]
    write_json(folder / "comparison.json", {**stored, "rows": rows, "networks": networks})
    page = write_report(folder).read_text(encoding="utf-8")
    joints = "tf_<wbr>efficientnet_<wbr>lite0.<wbr>in1k at&nbsp;96&nbsp;px"
    assert page.count(f'<bdi class="whole">{joints}</bdi>') == 1 + len(rows), "in both tables"
    assert ".whole { overflow-wrap: break-word" in page
