"""`push`: a saved model to the Hugging Face Hub. What would leave this machine is known before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # it has no __all__

from thawline.errors import ModelError, OptionError, RunError, RunFolderError, ThawlineError
from thawline.exports.ensemble_folder import is_ensemble, read_ensemble_folder
from thawline.exports.own_folder import OWN_FILE
from thawline.exports.timm_folder import CONFIG_FILE
from thawline.exports.writing import CARD_FILE, WEIGHTS_FILE
from thawline.memory import raise_if_out_of_memory
from thawline.runs.model_folder import MODEL_FOLDER
from thawline.sums import check_sums


@dataclass(frozen=True)
class Shipment:
    """What would be sent, and where to."""

    folder: Path
    repository: str
    """ORGANISATION/NAME."""
    files: Sequence[tuple[str, int]]
    """Paths relative to the folder, and bytes."""
    public: bool
    endpoint: str

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(size for _, size in self.files)


def shipment(model: Path, repository: str, *, public: bool = False, endpoint: str | None = None) -> Shipment:
    """List what would be sent of a run's saved model or a timm folder; nothing is sent.

    Only the files of the model folder, none that is hidden or a link. Raises `InputError` if the name is not one of the
    Hub, or if there is nothing to send that opens elsewhere.
    """
    try:
        validate_repo_id(repository)
    except HFValidationError:
        repository_is_named = False
    else:
        repository_is_named = repository.count("/") == 1
    if not repository_is_named:
        raise OptionError(f"{repository!r} is not the name of a Hub repository; write ORGANISATION/NAME.")
    folder = model / MODEL_FOLDER if (model / MODEL_FOLDER).is_dir() else model
    members = [folder / name for name in read_ensemble_folder(folder).members] if is_ensemble(folder) else [folder]
    if any((member / OWN_FILE).is_file() for member in members):
        raise ModelError(
            f"{folder} needs your own Python code, which it does not contain; upload a timm model instead."
        )
    if not all((member / CONFIG_FILE).is_file() for member in members):
        raise RunFolderError(f"{model} does not contain a model: give a finished `fit` run, or a timm folder.")
    for member in members:
        check_sums(member, (WEIGHTS_FILE,))
    files = [
        (path.relative_to(folder).as_posix(), path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and not _is_hidden(path.relative_to(folder))
    ]
    return Shipment(folder, repository, files, public, HfApi(endpoint=endpoint).endpoint)


def send(what: Shipment) -> str:
    """Make the repository, private unless it shall be public, and send the files in one commit; its address.

    A repository that is there stays as it is, but nothing private goes into a public one: raises `OptionError` then,
    and `RunError` if the Hub refuses.
    """
    api = HfApi(endpoint=what.endpoint)
    try:
        url = str(api.create_repo(what.repository, private=not what.public, exist_ok=True))
        if not what.public and not api.repo_info(what.repository).private:
            raise OptionError(
                f"{what.repository} is public, so everyone could see the model; choose another name, or pass `public`."
            )
        api.create_commit(
            what.repository,
            [CommitOperationAdd(name, what.folder / name) for name, _ in what.files],
            commit_message=f"Model fine-tuned with thawline{_title(what.folder)}",
        )
    except ThawlineError:
        raise
    except Exception as error:  # the errors of its client differ between versions and have no common class
        raise_if_out_of_memory(error)
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunError(
            f"{what.endpoint} rejected {what.repository} ({reason}); log in with `hf auth login`, with a token that "
            "has write access."
        ) from error
    return url


def _title(folder: Path) -> str:
    """The first heading of the card, for the commit's message."""
    card = folder / CARD_FILE
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    heading = next((line for line in text.splitlines() if line.startswith("# ")), "")
    return f": {heading.removeprefix('# ')[:80]}" if heading else ""


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
