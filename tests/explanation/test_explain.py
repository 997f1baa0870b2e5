"""`explain` on real small runs: what is written, what is honest, what is not fatal."""

from __future__ import annotations

import io
import json
import os
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from tests.small_runs import small_request
from thawline import api
from thawline.callback import Callback
from thawline.cli.app import app
from thawline.data.demo import demo_network
from thawline.errors import DataError, ModelError, OptionError, RunFolderError
from thawline.explanation import changes
from thawline.explanation import explain as explaining
from thawline.explanation.changes import MOST_IMAGES, known_images
from thawline.plan import FineTunePlan
from thawline.report.tables import print_explained
from thawline.results import Drift, ExplainedImage, Explanation
from thawline.runs.files import read_splits
from thawline.runs.finished import open_finished
from thawline.runs.folder import RunFolder

HOSTILE = '<script>alert(1)</script> "quoted" \u202egnp.\u05d7\u05ea\u05d5\u05dc' + "x" * 100 + ".png"


def fit(images: Path, out: Path, strategy: str, **options: Any) -> Path:
    api.run(small_request(images, (strategy,), verb="fit", learning_rate=1e-2, **options), out)
    return out


@pytest.fixture(scope="module")
def runs(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of finished runs: full, linear_probe."""
    folder = tmp_path_factory.mktemp("runs")
    for strategy in ("full", "linear_probe"):
        fit(images, folder / strategy, strategy, norm="moving")
    return folder


@pytest.fixture
def run(runs: Path, tmp_path: Path) -> Path:
    """A copy of the run `full` to write into."""
    return Path(shutil.copytree(runs / "full", tmp_path / "full"))


class Words(HTMLParser):
    """Tags and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.sources: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name == "src" and value]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.thorough
def test_fit_ends_with_the_images_of_its_report_explained(images: Path, tmp_path: Path) -> None:
    request = small_request(images, ("full",), verb="fit", learning_rate=1e-2)
    api.run(replace(request, explain=True), tmp_path / "run")
    explained = json.loads((tmp_path / "run" / "explain.json").read_text())
    assert explained["drift"]["blocks"]
    assert {Path(image["path"]).parent.parent.name for image in explained["images"]} == {"test"}
    page = Words((tmp_path / "run" / "report.html").read_text())
    assert "before" in page.text
    assert "Not measured in this run" not in page.text


@pytest.mark.thorough
def test_results_are_safe_whatever_becomes_of_the_maps(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no layer has a gradient")

    class Notes(Callback):
        def __init__(self) -> None:
            self.texts: list[str] = []

        def note(self, text: str) -> None:
            self.texts.append(text)

    monkeypatch.setattr(explaining, "draw_maps", fail)
    request, told = small_request(images, ("full",), verb="fit", learning_rate=1e-2), Notes()
    results = api.run(replace(request, explain=True), tmp_path / "run", told)
    assert json.loads((tmp_path / "run" / "results.json").read_text())["digest"] == results["digest"]
    assert (tmp_path / "run" / "report.html").exists()
    assert not (tmp_path / "run" / "explain.json").exists()
    assert any("no layer has a gradient" in text and "thawline explain" in text for text in told.texts)


@pytest.mark.thorough
def test_what_is_written(run: Path, images: Path) -> None:
    explained = api.explain(run, [images / "test" / "red" / "0.png", images / "test" / "blue"])
    assert json.loads((run / "explain.json").read_text()) == explained.to_dict()
    assert explained.format_version == 1
    assert explained.head_before == "linear_probe"
    assert len(explained.images) == 9
    classes = {"blue", "red"}
    for image in explained.images:
        assert image.true is not None
        assert image.true in image.path
        assert {image.predicted, image.predicted_before, image.true} <= classes
        for name in ("image", "before", "after"):
            assert image[name].startswith("explain/")
            with Image.open(run / image[name]) as drawn:
                assert drawn.size == (224, 224)
    page = Words((run / "explain" / "index.html").read_text())
    assert all((run / "explain" / source).is_file() for source in page.sources)
    assert len(page.sources) == 3 * 9


@pytest.mark.thorough
def test_no_prediction_of_a_head_that_was_fitted_to_the_image(run: Path, images: Path, tmp_path: Path) -> None:
    """A copy under another name is the same image; one that was not trained on has its prediction."""
    trained_on, other = [images / line.path for line in read_splits(run / "splits.csv") if line.split == "train"][:2]
    copy = Path(shutil.copyfile(other, tmp_path / "photo.png"))
    found = api.explain(run, [copy, trained_on, images / "test" / "red" / "0.png"]).images
    names = [image.path for image in found if image.predicted_before is None]
    assert sorted(names) == sorted([str(copy), trained_on.relative_to(images).as_posix()])
    assert all(image.predicted for image in found)
    page = Words((run / "explain" / "index.html").read_text())
    assert page.text.count("its head was fitted to this image") == 2


def test_the_screen_leaves_it_out_too_and_says_what_the_head_is() -> None:
    image = {"path": "a.png", "true": "rose", "predicted": "tulip", "probability": 0.727}
    text = io.StringIO()
    for head, before in (("linear_probe", {}), ("fine_tuned", {"predicted_before": "rose", "probability_before": 0.9})):
        shown = Explanation(format_version=1, head_before=head, images=[ExplainedImage(**image, **before)])  # type: ignore[arg-type]
        print_explained(Console(file=text, width=300), shown, Path("run"))
    probe, fallback = text.getvalue().split("a.png")[1:]
    assert "(head fitted to this image) -> tulip 0.727" in probe
    assert "a logistic regression on the features of training images" in probe
    assert "these predictions mean little" in fallback


@pytest.mark.thorough
def test_predictions_are_those_of_predict(run: Path, images: Path) -> None:
    some = [images / "test" / name / f"{number}.png" for name in ("blue", "red") for number in range(2)]
    explained = api.explain(run, some).images
    predicted = api.predict(run, some, top=1).predictions
    for image, prediction in zip(explained, predicted, strict=True):
        assert image.predicted == prediction.top[0].label
        assert image.probability == pytest.approx(prediction.top[0].probability, abs=1e-5)


def drift_of(explained: Explanation) -> Drift:
    assert explained.drift is not None
    return explained.drift


@pytest.mark.thorough
def test_blocks_change_where_they_were_trained(runs: Path, images: Path) -> None:
    full, probe = (
        drift_of(api.explain(runs / name, images / "test" / "red" / "0.png")).blocks
        for name in ("full", "linear_probe")
    )
    for block in probe:
        assert block.weight_change == 0
        assert block.norm_drift in (0, None)
        assert block.cka == pytest.approx(1)
        assert block.probe_before == block.probe_after
    plan = FineTunePlan.from_dict(json.loads((runs / "full" / "plan.json").read_text()))
    assert [block.name for block in full] == list(plan.blocks[:-1])
    assert all((block.weight_change or 0) > 0 and (block.norm_drift or 0) > 0 for block in full)
    assert all(block.probe_after is not None and 0 <= block.probe_after <= 1 for block in full)


def test_the_test_split_is_left_alone(runs: Path) -> None:
    opened = open_finished(RunFolder.open(runs / "full"))
    known = known_images(opened)
    assert known is not None
    splits = {row.path: row.split for row in opened.listed()}
    assert (len(known.train), len(known.val)) == (24, 16)
    assert len(known.images.pixels) == 40 < len(splits) < MOST_IMAGES


def test_too_few_validation_images_cost_the_features_only(
    run: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "_FEWEST", 17)
    explained = api.explain(run, images / "test" / "red" / "0.png")
    assert explained.head_before == "linear_probe"
    assert {block.cka for block in drift_of(explained).blocks} == {None}
    assert explained.notes == [explaining._FEW_IMAGES]


@pytest.mark.thorough
def test_other_runs_stand_beside(run: Path, runs: Path, images: Path) -> None:
    explained = api.explain(run, images / "test" / "red", beside=runs / "linear_probe")
    (image, *_) = explained.images
    (other,) = image.beside
    assert other.run == "linear_probe"
    assert (run / other.picture).is_file()
    with Image.open(run / str(image.all)) as sheet:
        assert sheet.width == 12 + 4 * (224 + 12)
    assert len(Words((run / "explain" / "index.html").read_text()).sources) == 4 * 8


@pytest.mark.thorough
def test_a_run_on_other_classes_cannot_stand_beside(run: Path, images: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "renamed"
    shutil.copytree(images, renamed)
    for split in ("train", "val", "test"):
        (renamed / split / "red").rename(renamed / split / "crimson")
    other = fit(renamed, tmp_path / "other", "linear_probe")
    with pytest.raises(RunFolderError, match="cannot be shown beside"):
        api.explain(run, images / "test" / "red", beside=[other])


@pytest.mark.thorough
def test_unreadable_images_are_listed(run: Path, images: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    explained = api.explain(run, [broken, images / "test" / "red" / "0.png"])
    assert len(explained.images) == 1
    assert [Path(file.path).name for file in explained.unreadable] == ["broken.png"]
    assert "broken.png" in (run / "explain" / "index.html").read_text()
    with pytest.raises(DataError, match=r"broken\.png"):
        api.explain(run, broken)
    with pytest.raises(DataError, match="does not exist"):
        api.explain(run, tmp_path / "absent.png")


@pytest.mark.thorough
def test_hostile_names_are_drawn_as_they_are(run: Path, images: Path, tmp_path: Path) -> None:
    path = tmp_path / HOSTILE.replace("/", "|")
    shutil.copy(images / "test" / "red" / "0.png", path)
    (image,) = api.explain(run, path).images
    assert image.true is None
    page = Words((run / "explain" / "index.html").read_text())
    assert "script" not in page.tags
    assert path.name in page.text
    assert all(file.name.isascii() and len(file.name) < 80 for file in (run / "explain").iterdir())


@pytest.mark.thorough
@pytest.mark.skipif(os.name == "nt", reason="Windows names are Unicode")
def test_a_name_that_is_not_unicode(run: Path, images: Path, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.png"))
    shutil.copy(images / "test" / "red" / "0.png", path)
    (image,) = api.explain(run, path).images
    assert image.path.endswith(r"\xff\xfe.png")
    assert json.loads((run / "explain.json").read_text())["images"][0] == image.to_dict()


@pytest.mark.thorough
def test_without_its_images_a_run_still_shows_its_weights(images: Path, tmp_path: Path) -> None:
    moved_away = tmp_path / "data"
    shutil.copytree(images, moved_away)
    run = fit(moved_away, tmp_path / "run", "full")
    moved_away.rename(tmp_path / "elsewhere")
    explained = api.explain(run, tmp_path / "elsewhere" / "test" / "red")
    assert explained.head_before == "fine_tuned"
    assert len(explained.notes) == 1
    for block in drift_of(explained).blocks:
        assert (block.weight_change or 0) > 0
        assert block.cka is block.probe_before is block.probe_after is None
    assert "was trained on other features" in (run / "explain" / "index.html").read_text()


@pytest.mark.thorough
def test_a_layer_by_name(run: Path, images: Path) -> None:
    image = images / "test" / "red" / "0.png"
    assert api.explain(run, image, layer="blocks.1").layer == "blocks.1"
    with pytest.raises(OptionError, match="no layer 'nowhere'"):
        api.explain(run, image, layer="nowhere")


@pytest.mark.thorough
def test_only_a_finished_fit_is_explained(images: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="is not a run folder"):
        api.explain(tmp_path, images)
    api.run(small_request(images, ("linear_probe",), learning_rate=1e-2), tmp_path / "compared")
    with pytest.raises(RunFolderError, match="has no saved model"):
        api.explain(tmp_path / "compared", images)


def test_other_weights_than_the_run_started_from(run: Path, images: Path) -> None:
    results = json.loads((run / "results.json").read_text())
    results["model"]["weights_fingerprint"] = "0" * 64
    (run / "results.json").write_text(json.dumps(results))
    (run / "SHA256SUMS").unlink()
    with pytest.raises(ModelError, match="differ from those"):
        api.explain(run, images / "test")


@pytest.mark.thorough
def test_accuracy_on_the_pretraining_task_is_measured_where_its_images_are_kept(images: Path, tmp_path: Path) -> None:
    request = small_request(images, ("full",), verb="fit", learning_rate=1e-2)
    api.run(replace(request, model=f"local-dir:{demo_network()}", weights=None), tmp_path / "run")
    source = drift_of(api.explain(tmp_path / "run", images / "test" / "red" / "0.png")).source
    assert source is not None
    assert source.images == 740
    assert source.accuracy_before == pytest.approx(
        json.loads((demo_network() / "source_test.json").read_text())["accuracy"], abs=2e-3
    )
    assert source.accuracy_after < source.accuracy_before


@pytest.mark.thorough
def test_the_command(run: Path, images: Path) -> None:
    image = str(images / "test" / "red" / "0.png")
    shown = CliRunner().invoke(app, ["explain", str(run), image])
    assert shown.exit_code == 0, shown.output
    assert "test/red/0.png (true: red)" in shown.output
    assert "conv_stem" in shown.output
    assert "index.html" in shown.output
    told = CliRunner().invoke(app, ["explain", str(run), image, "--json"])
    assert json.loads(told.stdout)["images"][0]["true"] == "red"
