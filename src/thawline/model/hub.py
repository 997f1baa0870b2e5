"""Files from the Hugging Face Hub or a URL: from the cache or downloaded, with clear errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import huggingface_hub
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # it has no __all__
from timm.models._hub import download_cached_file

from thawline.errors import ModelError

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
_SECONDS_TO_ANSWER = 10
_WAY_OUT = "give `weights` (a file, a folder or 'random'), or local-dir:PATH as the model."


def hub_folder(repository: str) -> Path:
    """Local folder with the `config.json` of a Hub repository (`organization/name[@revision]`)."""
    return _hub_file(repository, ("config.json",), f"hf-hub:{repository}").parent


def published_weights(pretrained_cfg: Mapping[str, object], name: str) -> Path:
    """The file with timm's pretrained weights for a name. Raises `ModelError` if it cannot be downloaded."""
    if repository := _text(pretrained_cfg, "hf_hub_id"):
        chosen = _text(pretrained_cfg, "hf_hub_filename")
        return _hub_file(repository, (chosen,) if chosen else WEIGHT_FILES, name)
    url = _text(pretrained_cfg, "url")
    if not url:
        raise ModelError(f"timm has no pretrained weights for {name}; {_WAY_OUT}")
    try:
        return Path(download_cached_file(url))
    except (OSError, RuntimeError) as error:
        raise _cannot_download(name, _first_line(error)) from error


def _text(pretrained_cfg: Mapping[str, object], key: str) -> str:
    value = pretrained_cfg.get(key)
    return value if isinstance(value, str) else ""


def repository_weights(repository: str) -> Path:
    """The weights file of a Hub repository."""
    return _hub_file(repository, WEIGHT_FILES, f"hf-hub:{repository}")


def _hub_file(repository: str, filenames: Sequence[str], name: str) -> Path:
    """The first of `filenames` that the repository has; no network access if one is cached."""
    repository, _, revision = repository.partition("@")
    try:
        validate_repo_id(repository)
    except HFValidationError:
        raise ModelError(f"{name!r} is not the name of a Hub repository; write hf-hub:ORGANISATION/NAME.") from None
    for filename in filenames:
        cached = huggingface_hub.try_to_load_from_cache(repository, filename, revision=revision or None)
        if isinstance(cached, str):
            return Path(cached)
    _require_answer(name)
    for filename in filenames:
        try:
            return Path(huggingface_hub.hf_hub_download(repository, filename, revision=revision or None))
        except LocalEntryNotFoundError as error:  # the connection failed
            raise _cannot_download(name, _first_line(error)) from error
        except EntryNotFoundError:
            continue
        except (HfHubHTTPError, OSError, ValueError) as error:
            raise _cannot_download(name, _first_line(error)) from error
    raise _cannot_download(name, f"{repository} contains none of {', '.join(filenames)}")


def _require_answer(name: str) -> None:
    """Send the Hub one request, because its client repeats a failed one for half a minute and warns each time."""
    endpoint = huggingface_hub.constants.ENDPOINT
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        raise _cannot_download(name, "HF_HUB_OFFLINE is set and they are not in the cache")
    try:
        urlopen(Request(endpoint, method="HEAD"), timeout=_SECONDS_TO_ANSWER).close()
    except HTTPError:
        return  # it answered
    except (OSError, RuntimeError) as error:  # RuntimeError: a sandbox that forbids sockets
        raise _cannot_download(name, f"{endpoint} does not respond, and they are not in the cache") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _cannot_download(name: str, reason: str) -> ModelError:
    return ModelError(f"weights of {name} cannot be downloaded ({reason}); {_WAY_OUT}")
