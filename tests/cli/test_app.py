"""The command line as a user meets it: bad input gets one line and exit code 2, and loses nothing."""

from __future__ import annotations

import csv
import json
import os
import shlex
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from thawline.cli import app as cli
from thawline.errors import InputError
from thawline.results import StudyResult
from thawline.strategies import STRATEGIES

TINY = ["--model", "test_efficientnet", "--weights", "random", "--image-size", "32", "--epochs", "1", "--device", "cpu"]
FAST = [*TINY, "--strategy", "linear_probe:solver=sgd", "--threads", "1", "--batch-size", "8"]


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: Sequence[object]) -> int:
    """Exit code of the command line, run in this process."""
    monkeypatch.setattr(sys, "argv", ["thawline", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THAWLINE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def _unplugged(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name can be looked up, as on a machine without a network."""

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", fail)


def write_images(folder: Path, count: int, seed: int = 0, values: tuple[int, int] = (0, 255)) -> None:
    folder.mkdir(parents=True)
    generator = np.random.default_rng([seed, len(folder.name)])
    for number in range(count):
        Image.fromarray(generator.integers(*values, (36, 36, 3), dtype=np.uint8)).save(folder / f"{number}.png")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for seed, name in enumerate(("cat", "dog")):
        write_images(root / name, 12, seed)
    return root


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err.strip()
    assert error.startswith("thawline: "), error
    assert "\n" not in error
    assert "Traceback" not in error
    return error


def empty(tmp_path: Path) -> list[object]:
    (tmp_path / "empty").mkdir()
    return [tmp_path / "empty", *FAST]


def missing(tmp_path: Path) -> list[object]:
    return [tmp_path / "nowhere", *FAST]


def one_class(tmp_path: Path) -> list[object]:
    write_images(tmp_path / "one" / "cat", 12)
    return [tmp_path / "one", *FAST]


def one_image(tmp_path: Path) -> list[object]:
    write_images(tmp_path / "few" / "cat", 12)
    write_images(tmp_path / "few" / "lynx", 1, 1)
    return [tmp_path / "few", *FAST]


def truncated(tmp_path: Path) -> list[object]:
    broken = tmp_path / "data" / "cat" / "broken.jpg"
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(broken)
    broken.write_bytes(broken.read_bytes()[:-200])
    return [tmp_path / "data", *FAST]


def text_as_image(tmp_path: Path) -> list[object]:
    (tmp_path / "data" / "cat" / "notes.jpg").write_text("no picture")
    return [tmp_path / "data", *FAST]


def unknown_model(tmp_path: Path) -> list[object]:
    return [tmp_path / "data", "--model", "mobilenetv9"]


def no_download(tmp_path: Path) -> list[object]:
    return [tmp_path / "data", "--model", "resnet18"]


def wrong_weights(tmp_path: Path) -> list[object]:
    save_file({"conv1.weight": torch.zeros(3, 3)}, tmp_path / "wrong.safetensors")
    return [tmp_path / "data", "--model", "test_efficientnet", "--weights", tmp_path / "wrong.safetensors"]


def missing_weights(tmp_path: Path) -> list[object]:
    return [tmp_path / "data", "--model", "test_efficientnet", "--weights", tmp_path / "gone.safetensors"]


def missing_folder_model(tmp_path: Path) -> list[object]:
    return [tmp_path / "data", "--model", f"local-dir:{tmp_path / 'gone'}"]


def unknown_strategy(tmp_path: Path) -> list[object]:
    return [tmp_path / "data", *TINY, "--strategy", "fulll"]


def more_blocks_than_there_are(tmp_path: Path) -> list[object]:
    return [tmp_path / "data", *TINY, "--strategy", "last_blocks:k=30"]


def share_of_one(tmp_path: Path) -> list[object]:
    return [tmp_path / "data", *TINY, "--strategy", "depth:share=0.25"]


def one_epoch_for_two_phases(tmp_path: Path) -> list[object]:
    return [tmp_path / "data", *TINY, "--strategy", "lp_ft"]


def bad_option(tmp_path: Path) -> list[object]:
    return [tmp_path / "data", *FAST, "--optimizer", "lion"]


def missing_device(tmp_path: Path) -> list[object]:
    device = "mps" if sys.platform != "darwin" else "cuda"
    return [tmp_path / "data", *FAST[: FAST.index("--device")], "--device", device]


BAD: dict[Callable[[Path], list[object]], str] = {
    empty: "no images",
    missing: "does not exist",
    one_class: "only one class, 'cat'",
    one_image: "lynx",
    truncated: "broken.jpg",
    text_as_image: "notes.jpg",
    unknown_model: "mobilenetv9",
    no_download: "--weights",
    wrong_weights: "wrong.safetensors",
    missing_weights: "gone.safetensors",
    missing_folder_model: "gone",
    unknown_strategy: "did you mean 'full'",
    more_blocks_than_there_are: "5 blocks below the head",
    share_of_one: "did you mean 25?",
    one_epoch_for_two_phases: "at least 2 epochs",
    bad_option: "--optimizer",
    missing_device: "not available",
}


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.__name__)
def test_bad_input_gets_one_line_and_exit_code_2(
    case: Callable[[Path], list[object]],
    tmp_path: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = ["fit", *case(tmp_path), "--out", tmp_path / "run"]
    assert run(capsys, monkeypatch, arguments) == 2
    assert BAD[case] in one_line(capsys)
    assert not (tmp_path / "run").exists(), "the mended command could not use the same --out"


@pytest.mark.thorough
def test_class_names_are_only_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["..cat", "a b", "🐈 emoji", "<script>alert(1)</script>".replace("/", "∕"), "'\"; rm", "قط"]
    for seed, name in enumerate(names):
        write_images(tmp_path / "data" / name, 12, seed)
    assert run(capsys, monkeypatch, ["fit", tmp_path / "data", *FAST, "--out", tmp_path / "run"]) == 0
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert config["label_names"] == sorted(names)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert [row["name"] for row in results["test"]["per_class"]] == sorted(names)


@pytest.mark.thorough
def test_a_class_called_dot_dot_slash_cannot_leave_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A folder name cannot hold a slash, so `../` can only come in as an escape or a look-alike.
    for seed, folder in enumerate(("..%2f..%2fescape", "..∕escape")):
        write_images(tmp_path / "data" / folder, 12, seed)
    before = {path.name for path in tmp_path.iterdir()}
    assert run(capsys, monkeypatch, ["fit", tmp_path / "data", *FAST, "--out", tmp_path / "run"]) == 0
    assert {path.name for path in tmp_path.iterdir()} - before == {"run", "cache"}


@pytest.mark.thorough
def test_an_output_folder_with_a_run_or_with_files_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["fit", data, *FAST, "--out", tmp_path / "run"]
    assert run(capsys, monkeypatch, arguments) == 0
    results = (tmp_path / "run" / "results.json").read_bytes()
    capsys.readouterr()
    assert run(capsys, monkeypatch, arguments) == 2
    assert "already holds a finished run; choose another --out" in one_line(capsys)
    assert (tmp_path / "run" / "results.json").read_bytes() == results
    assert run(capsys, monkeypatch, [*arguments[:-1], data]) == 2
    assert "not empty" in one_line(capsys)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere, so nothing is read-only for it")
def test_a_read_only_output_folder(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert run(capsys, monkeypatch, ["fit", data, *FAST, "--out", tmp_path / "locked" / "run"]) == 2
    assert "cannot be written" in one_line(capsys)


def test_an_output_folder_where_nothing_can_be_written(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # /proc refuses new folders to everybody, root included.
    assert run(capsys, monkeypatch, ["fit", data, *FAST, "--out", "/proc/thawline-run"]) == 2
    assert "cannot be written" in one_line(capsys)


@pytest.mark.thorough
def test_fit_prints_a_forecast_the_table_and_lines_that_open_the_model(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(capsys, monkeypatch, ["fit", data, *FAST, "--out", tmp_path / "run"]) == 0
    out = capsys.readouterr().out
    assert "Forecast: about" in out
    assert "no better than guessing" in out  # random weights, four test images
    assert out.index("The starting weights are random, and frozen blocks stay random") < out.index("Forecast: about")
    assert "bit-identical to the starting weights" in out
    snippet = out[out.index("import timm") :]
    found: dict[str, object] = {}
    exec(snippet, found)
    model = found["model"]
    assert isinstance(model, torch.nn.Module)
    assert model.num_classes == 2


@pytest.mark.thorough
def test_predict_and_evaluate(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(capsys, monkeypatch, ["fit", data, *FAST, "--out", tmp_path / "run"]) == 0
    (data / "cat" / "notes.jpg").write_text("no picture")
    capsys.readouterr()
    assert run(capsys, monkeypatch, ["predict", tmp_path / "run", data, "--json"]) == 0
    predicted = json.loads(capsys.readouterr().out)
    assert len(predicted["predictions"]) == 24
    assert [Path(file["path"]).name for file in predicted["unreadable"]] == ["notes.jpg"]
    assert (
        run(capsys, monkeypatch, ["predict", tmp_path / "run", data / "dog" / "0.png", "--csv", "-", "--top", "1"]) == 0
    )
    assert capsys.readouterr().out.splitlines()[0] == "path,rank,class,probability,error"
    assert run(capsys, monkeypatch, ["evaluate", tmp_path / "run", data]) == 0
    said = capsys.readouterr().out
    rows = csv.DictReader((tmp_path / "run" / "splits.csv").read_text().splitlines())
    splits = Counter(row["split"] for row in rows)
    assert (
        f"{splits['train']} of these images were trained on and {splits['val']} were used for validation"
        in " ".join(said.split())
    )
    monkeypatch.chdir(data)
    assert run(capsys, monkeypatch, ["evaluate", tmp_path / "run", "."]) == 0
    assert "These scores are optimistic" in capsys.readouterr().out
    write_images(tmp_path / "new" / "cat", 3, 7)
    write_images(tmp_path / "new" / "dog", 3, 8)
    assert run(capsys, monkeypatch, ["evaluate", tmp_path / "run", tmp_path / "new"]) == 0
    assert "These scores are optimistic" not in capsys.readouterr().out
    write_images(tmp_path / "others" / "cat", 3)
    write_images(tmp_path / "others" / "zebra", 3)
    assert run(capsys, monkeypatch, ["evaluate", tmp_path / "run", tmp_path / "others"]) == 2
    assert "zebra" in one_line(capsys)


@pytest.mark.thorough
def test_json_on_standard_output_is_one_object(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(capsys, monkeypatch, ["fit", data, *FAST, "--out", tmp_path / "run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["strategy"] == "linear_probe:solver=sgd"


def test_inspect(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(capsys, monkeypatch, ["inspect", "resnet18", "--json"]) == 0
    blocks = json.loads(capsys.readouterr().out)["blocks"]
    assert [block["name"] for block in blocks] == ["stem", "layer1", "layer2", "layer3", "layer4", "head"]
    assert blocks[0]["step_from_here"] == pytest.approx(1.0)
    assert run(capsys, monkeypatch, ["inspect", "resnet18"]) == 0
    assert "layer4" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["resume", "evaluate", "predict"])
def test_a_folder_that_is_no_run(
    command: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(capsys, monkeypatch, [command, tmp_path, *([data] if command != "resume" else [])]) == 2
    assert str(tmp_path) in one_line(capsys)


@pytest.mark.thorough
def test_ctrl_c_ends_with_130_and_a_way_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("thawline.runs.experiment.Experiment.train", stop)
    assert run(capsys, monkeypatch, ["fit", data, *FAST, "--out", tmp_path / "run"]) == 130
    assert "resume" in one_line(capsys)
    monkeypatch.undo()
    monkeypatch.setenv("THAWLINE_CACHE", str(tmp_path / "cache"))
    assert run(capsys, monkeypatch, ["resume", tmp_path / "run"]) == 0


@pytest.mark.thorough
def test_compare_says_where_everything_is_and_how_to_get_a_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    # A model that guesses is not worth having, so these can be told apart.
    write_images(data / "dark", 40, values=(0, 80))
    write_images(data / "light", 40, values=(170, 250))
    options = [*TINY, "--threads", "1", "--batch-size", "8", "--learning-rate", "1e-1", "--strategies", "linear_probe"]
    assert run(capsys, monkeypatch, ["compare", data, *options, "--out", tmp_path / "run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    told = next(number for number, line in enumerate(lines) if "A comparison saves no model" in line)
    assert str(tmp_path / "run") in lines[told]
    program, *arguments = shlex.split(lines[told + 1])
    assert program == "thawline"
    assert run(capsys, monkeypatch, [*arguments[:-1], tmp_path / "model"]) == 0
    compared, fitted = ((tmp_path / name).read_text() for name in ("run/comparison.json", "model/results.json"))
    assert json.loads(fitted)["test"] == json.loads(compared)["rows"][0]["test"]
    assert (tmp_path / "model" / "comparison.csv").is_file()


def test_resuming_a_finished_run_says_so_and_a_bad_addition_leaves_it_as_it_was(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [*TINY, "--threads", "1", "--batch-size", "8", "--learning-rate", "1e-3", "--strategies", "linear_probe"]
    assert run(capsys, monkeypatch, ["compare", data, *options, "--out", tmp_path / "run"]) == 0
    capsys.readouterr()
    assert run(capsys, monkeypatch, ["resume", tmp_path / "run", "--add", "last_blocks:k=30"]) == 2
    assert "5 blocks below the head" in one_line(capsys)
    assert run(capsys, monkeypatch, ["resume", tmp_path / "run"]) == 0
    assert "already finished" in capsys.readouterr().out


def test_strategies_lists_every_one_with_its_arguments(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(capsys, monkeypatch, ["strategies", "--json"]) == 0
    found = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert list(found) == list(STRATEGIES)
    assert found["last_blocks"]["arguments"] == {"k": 1}
    assert found["last_blocks"]["tuned"] == {"k": [1, 2, 3]}
    assert run(capsys, monkeypatch, ["strategies"]) == 0
    assert "k=1; if unset, tuning tries 1, 2, 3" in capsys.readouterr().out


def test_the_module_runs_as_a_program() -> None:
    done = subprocess.run([sys.executable, "-m", "thawline", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("thawline 0.")


def test_every_input_error_exits_with_2() -> None:
    assert InputError.exit_code == 2


def test_debug_shows_the_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THAWLINE_DEBUG", "")  # `main` sets it for the process
    with pytest.raises(InputError, match="nowhere"):
        run(capsys, monkeypatch, ["--debug", "evaluate", tmp_path / "nowhere", tmp_path])
    monkeypatch.setenv("THAWLINE_DEBUG", "")
    assert run(capsys, monkeypatch, ["evaluate", tmp_path / "nowhere", tmp_path]) == 2


@pytest.mark.parametrize("target", ["", "folder", "pipe"])
def test_check_writes_to_files_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    out = tmp_path / target if target else ""
    assert run(capsys, monkeypatch, ["check", tmp_path, "--out", out]) == 2
    assert capsys.readouterr().err.startswith("thawline: --out must be a file to write, got ")


def test_a_name_that_is_too_long_is_wrong_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["check", "x" * 5000], ["predict", "x" * 5000, "y"], ["fit", "photos", "--out", "x" * 5000]):
        assert run(capsys, monkeypatch, arguments) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_study_with_failed_cells_prints_its_tables_and_ends_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = {"net--DTD": "'torchvision:DTD' cannot be read.", "net--SVHN": "out of reach."}
    result = StudyResult(cells=[], tables="# tables", failed=failed)
    monkeypatch.setattr("thawline.api.repeat_study", lambda *_: result)
    assert run(capsys, monkeypatch, ["compare", "--recipe", "depth", "--out", tmp_path / "out"]) == 1
    screen, errors = capsys.readouterr()
    assert screen.startswith("# tables")
    assert errors == (
        "thawline: net--DTD (the first of 2 failed comparisons): 'torchvision:DTD' cannot be read. All others are "
        "finished; rerun the same command to retry only those that failed.\n"
    )


def test_a_dry_run_says_what_would_happen_and_leaves_nothing_behind(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*_: object, **__: object) -> None:
        raise AssertionError("nothing may be trained")

    monkeypatch.setattr("thawline.runs.experiment.Experiment.train", train)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    arguments = [data, *TINY, "--threads", "1", "--batch-size", "8", "--augment", "none", "--out", tmp_path / "run"]
    assert run(capsys, monkeypatch, ["compare", *arguments, "--strategies", "linear_probe,full", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "24 images in 2 classes" in shown
    assert "tuning tries 2 variants and the rate" in shown
    assert run(capsys, monkeypatch, ["fit", *arguments, "--strategy", "last_blocks:k=1", "--dry-run", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    (row,) = planned["rows"]
    assert (row["strategy"], row["blocks"][-1], row["tunes_rate"]) == ("last_blocks:k=1", "head", False)
    assert sum(planned["data"]["images"].values()) == 24
    assert (planned["trainings"], planned["units"]) == (row["trainings"], row["units"])
    assert planned["seconds"] > 0
    assert not (tmp_path / "run").exists()
    assert not list((tmp_path / "scratch").iterdir())
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("")
    assert run(capsys, monkeypatch, ["fit", *arguments, "--dry-run"]) == 2
    assert "is not empty, and not a run folder" in one_line(capsys)


@pytest.mark.thorough
def test_the_options_that_a_run_keeps_repeat_it(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.toml").write_text('model = "resnet18"\nepochs = 7\n[fit]\nstrategy = "linear_probe:solver=sgd"\n')
    options = [*TINY, "--threads", "1", "--batch-size", "8", "--config", tmp_path / "mine.toml"]
    assert run(capsys, monkeypatch, ["fit", data, *options, "--out", tmp_path / "first"]) == 0
    first = json.loads((tmp_path / "first" / "results.json").read_text())
    assert (first["strategy"], first["request"]["train"]["epochs"]) == ("linear_probe:solver=sgd", 1), "file < flag"
    for name, kept in (("second", "config.toml"), ("third", "run.json")):
        arguments = ["fit", "--config", tmp_path / "first" / kept, "--out", tmp_path / name]
        assert run(capsys, monkeypatch, arguments) == 0
        assert json.loads((tmp_path / name / "results.json").read_text())["digest"] == first["digest"]
    capsys.readouterr()
    (tmp_path / "mine.toml").write_text("epoch = 1")
    assert run(capsys, monkeypatch, ["fit", data, *options, "--out", tmp_path / "fourth"]) == 2
    assert one_line(capsys).endswith("mine.toml: unknown option 'epoch'; did you mean 'epochs'?")
    assert not (tmp_path / "fourth").exists()


def test_init_writes_all_options_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(capsys, monkeypatch, ["init"]) == 0
    assert capsys.readouterr().out == "thawline.toml\n"
    assert "\n#epochs = 20\n" in (tmp_path / "thawline.toml").read_text()
    assert run(capsys, monkeypatch, ["init"]) == 2
    assert "thawline.toml exists already; choose another --out" in one_line(capsys)


def test_without_data_there_is_a_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(capsys, monkeypatch, ["fit", "--out", "run"]) == 2
    assert one_line(capsys) == "thawline: fit needs DATA, a folder of images."


def test_a_preset_says_what_it_sets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    arguments = ["fit", tmp_path / "empty", "--preset", "paper", "--epochs", "4", "--out", tmp_path / "run"]
    assert run(capsys, monkeypatch, arguments) == 2
    line = capsys.readouterr().err.splitlines()[0]
    assert line.startswith("--preset paper sets --batch-size 96, --optimizer adam,")
    assert line.endswith("--seeds 3.")
    assert "--epochs" not in line


def test_published_studies_are_listed_and_their_comparisons_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(capsys, monkeypatch, ["compare", "--list"]) == 0
    shown = capsys.readouterr().out
    assert "36 comparisons of 9 strategies" in shown
    assert "give folders for ISIC" in shown
    assert run(capsys, monkeypatch, ["compare", "--list", "--json"]) == 0
    assert {study["name"] for study in json.loads(capsys.readouterr().out)} >= {"depth", "biotune-table1"}
    arguments = ["compare", "--recipe", "biotune-table1", "--data", "DTD", "--out", "nowhere", "--dry-run"]
    assert run(capsys, monkeypatch, arguments) == 0
    shown = capsys.readouterr().out
    assert "resnet50.tv_in1k--DTD: 9 strategies, 3 seeds, up to 30 epochs" in shown
    assert "4 comparisons." in shown
    assert not Path("nowhere").exists()
    assert run(capsys, monkeypatch, ["compare", "photos"]) == 2
    assert "compare needs --out" in one_line(capsys)
