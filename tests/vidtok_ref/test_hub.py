"""Downloads, with the hub played by a stand-in: no test touches a network."""

import errno
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.hf_api import ModelInfo

from vidtok_edge.errors import (
    CheckpointError,
    HubUnreachable,
    MissingDependency,
    OutputNotWritable,
    UsageError,
)
from vidtok_edge.variants import EMBEDDED, VARIANTS
from vidtok_edge.vidtok_ref.hub import REPOSITORY, HubFile, download

V1_0 = VARIANTS["vidtok_kl_causal_488_4chn"]
V1_1 = VARIANTS["vidtok_kl_causal_488_4chn_v1_1"]
FILES = [
    "README.md",
    f"checkpoints/{V1_0.name}.ckpt",
    f"checkpoints/vidtok_v1_1/{V1_1.name}.ckpt",
]

REVISION = "0123456789abcdef0123456789abcdef01234567"


def info(revision: str | None, *, hashes: bool = True) -> ModelInfo:
    """As the hub answers; every file's content is its own place."""
    files = []
    for place in FILES:
        sha256 = hashlib.sha256(place.encode()).hexdigest()
        lfs = {"sha256": sha256, "size": len(place), "pointerSize": 134}
        files.append({"rfilename": place, "lfs": lfs if hashes else None})
    make: Callable[..., ModelInfo] = ModelInfo
    return make(id=REPOSITORY, sha=revision, siblings=files)


INFO = info(REVISION)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and a hub that has FILES."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "model_info", lambda repo, files_metadata: INFO)

    def hf_hub_download(repo: str, path: str, revision: str) -> str:
        place = tmp_path / repo / revision / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.encode())
        return str(place)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
    return tmp_path


def failing(error: Exception) -> Callable[..., ModelInfo]:
    def model_info(repo: str, files_metadata: bool) -> ModelInfo:
        raise error

    return model_info


def test_files_are_found_by_name_in_any_folder_and_read_of_one_commit(cache: Path) -> None:
    for variant, place in ((V1_0, FILES[1]), (V1_1, FILES[2])):
        assert download(variant) == HubFile(cache / REPOSITORY / REVISION / place, REVISION)
    assert str(download(V1_0)) == f"{V1_0.name}.ckpt of {REPOSITORY} at {REVISION[:12]}"


def test_a_file_that_is_not_what_the_hub_states(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = cache / "other"
    other.write_bytes(b"other weights")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *a, **k: str(other))
    with pytest.raises(CheckpointError, match=r"the hub states .* download it again"):
        download(V1_0)


@pytest.mark.parametrize("lacking", ["sha", "lfs"])
def test_without_a_commit_and_a_hash_nothing_is_taken(
    lacking: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    less = info(None if lacking == "sha" else REVISION, hashes=lacking != "lfs")
    monkeypatch.setattr(huggingface_hub, "model_info", lambda repo, files_metadata: less)
    with pytest.raises(HubUnreachable, match=r"states no commit or no SHA-256"):
        download(V1_0)


def test_the_embedded_variant_is_not_on_the_hub() -> None:
    with pytest.raises(UsageError, match="ships with the package and is not on the hub"):
        download(EMBEDDED)


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingDependency, match=r"huggingface_hub.*vidtok-edge\[hub\]"):
        download(V1_0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [
        OfflineModeIsEnabled("offline mode is enabled.\nmore"),
        ConnectionError("no route to host"),
        RuntimeError(""),
    ],
)
def test_an_unreachable_hub_says_what_to_do(
    error: Exception, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "model_info", failing(error))
    with pytest.raises(HubUnreachable, match=r"by hand.*pass --checkpoint PATH") as caught:
        download(V1_0)
    assert type(error).__name__ in str(caught.value) and "more" not in str(caught.value)
    assert caught.value.exit_code == 4


def test_offline_mode_is_honoured(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real client in its offline mode: it refuses before it opens a connection."""
    monkeypatch.undo()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubUnreachable, match="OfflineModeIsEnabled"):
        download(V1_0)


def test_a_file_fetched_before_serves_offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "model_info", failing(ConnectionError("down")))
    snapshot = cache / "models--microsoft--VidTok" / "snapshots" / "abc" / "checkpoints"
    snapshot.mkdir(parents=True)
    stored = snapshot / f"{V1_0.name}.ckpt"
    stored.touch()
    assert download(V1_0) == HubFile(stored, "abc")
    with pytest.raises(HubUnreachable):
        download(V1_1)


def test_a_file_that_the_repository_lacks(cache: Path) -> None:
    with pytest.raises(HubUnreachable, match=r"has 0 files called vidtok_kl_causal_444_4chn\.ckpt"):
        download(VARIANTS["vidtok_kl_causal_444_4chn"])


def test_a_full_disk_is_not_blamed_on_the_hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(huggingface_hub, "model_info", failing(full))
    with pytest.raises(OutputNotWritable, match=r"No space left on device.*HF_HOME"):
        download(V1_0)
