"""Weights from the Hugging Face hub into a plain folder: whole, checked, and only when nobody gave them by hand."""

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.constants import is_offline_mode
from huggingface_hub.utils import filter_repo_objects

from v2a_utils.models.weights import SUMS, sha256, write_sums


@dataclass(frozen=True)
class HubModel:
    """A repository on the hub, and what of it is needed."""

    repo: str
    revision: str
    files: tuple[str, ...]  # patterns
    licence: str


CLIP = HubModel("timm/vit_base_patch32_clip_224.openai", "main", ("open_clip_*",), "MIT")
AUDIOLDM = HubModel(
    "cvssp/audioldm-s-full-v2", "main", ("model_index.json", "*/*.json", "*/*.txt", "*/*.safetensors", "*/*.bin"),
    "CC BY-NC-SA 4.0: not for commercial use",
)


def fetch(model: HubModel, folder: Path, variable: str) -> Path:
    """The folder with a model's files, downloaded into it first if they are not there.

    Says size and licence before it begins. Whole files are kept when it is interrupted, and the next call goes on with
    the others; each is held against the SHA-256 that the hub names. ValueError when there is no way to get them;
    `variable` is what can be set to a local copy instead.
    """
    if (folder / SUMS).is_file():  # written last
        return folder
    way_out = f"or set {variable} to a local copy"
    if is_offline_mode():
        raise ValueError(f"{model.repo} is not in {folder}: set HF_HUB_OFFLINE=0 to fetch it, {way_out}")
    try:
        info = HfApi().model_info(model.repo, revision=model.revision, files_metadata=True)
        files = _wanted(info.siblings, model.files)
        size = sum(file.size for file in files) / 1e9
        print(f"{model.repo} ({model.licence}): {size:.2g} GB into {folder}", flush=True)
        for file in files:
            hf_hub_download(model.repo, file.rfilename, revision=info.sha, local_dir=folder)
    except Exception as error:  # whatever lies between here and there
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{model.repo} could not be fetched ({reason}); run it again to go on, {way_out}") from error
    for file in files:
        _check(folder / file.rfilename, file)
    write_sums(folder)
    return folder


def _wanted(files: list, patterns: tuple[str, ...]) -> list:
    """The hub's files that match, without the pickled twins of safetensors."""
    files = list(filter_repo_objects(files, allow_patterns=list(patterns), key=lambda file: file.rfilename))
    safe = {Path(file.rfilename).parent for file in files if file.rfilename.endswith(".safetensors")}
    return [file for file in files
            if not (file.rfilename.endswith(".bin") and Path(file.rfilename).parent in safe)]


def _check(path: Path, file) -> None:
    """Remove a file that is not what the hub says it is, and say so."""
    if path.stat().st_size != file.size or (file.lfs is not None and sha256(path) != file.lfs.sha256):
        path.unlink()
        raise ValueError(f"{path}: came damaged (its SHA-256 is not the hub's) and was removed; fetch it again")
