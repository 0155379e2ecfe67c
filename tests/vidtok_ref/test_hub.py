"""Downloads, with the hub played by a stand-in: no test touches a network."""

import errno
import sys
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import OfflineModeIsEnabled

from vidtok_edge.errors import HubUnreachable, MissingDependency, OutputNotWritable, UsageError
from vidtok_edge.variants import EMBEDDED, VARIANTS
from vidtok_edge.vidtok_ref.hub import REPOSITORY, download

V1_0 = VARIANTS["vidtok_kl_causal_488_4chn"]
V1_1 = VARIANTS["vidtok_kl_causal_488_4chn_v1_1"]
FILES = [
    "README.md",
    f"checkpoints/{V1_0.name}.ckpt",
    f"checkpoints/vidtok_v1_1/{V1_1.name}.ckpt",
]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and a hub that has FILES."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda repo: FILES)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repo, path: f"/{repo}/{path}")
    return tmp_path


def failing(error: Exception) -> Callable[[str], list[str]]:
    def list_repo_files(repo: str) -> list[str]:
        raise error

    return list_repo_files


def test_files_are_found_by_name_in_any_folder(cache: Path) -> None:
    assert download(V1_0) == Path(f"/{REPOSITORY}/{FILES[1]}")
    assert download(V1_1) == Path(f"/{REPOSITORY}/{FILES[2]}")


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
    monkeypatch.setattr(huggingface_hub, "list_repo_files", failing(error))
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
    monkeypatch.setattr(huggingface_hub, "list_repo_files", failing(ConnectionError("down")))
    snapshot = cache / "models--microsoft--VidTok" / "snapshots" / "abc" / "checkpoints"
    snapshot.mkdir(parents=True)
    stored = snapshot / f"{V1_0.name}.ckpt"
    stored.touch()
    assert download(V1_0) == stored
    with pytest.raises(HubUnreachable):
        download(V1_1)


def test_a_file_that_the_repository_lacks(cache: Path) -> None:
    with pytest.raises(HubUnreachable, match=r"has 0 files called vidtok_kl_causal_444_4chn\.ckpt"):
        download(VARIANTS["vidtok_kl_causal_444_4chn"])


def test_a_full_disk_is_not_blamed_on_the_hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(huggingface_hub, "list_repo_files", failing(full))
    with pytest.raises(OutputNotWritable, match=r"No space left on device.*HF_HOME"):
        download(V1_0)
