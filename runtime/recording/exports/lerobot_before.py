"""A LeRobot dataset that recordings are added to: what of it goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import DatasetError, MissingDependency
from vidtok_edge.runtime.recording.exports.existing import INFO, RECONSTRUCTION
from vidtok_edge.runtime.recording.exports.lerobot_places import VIDEO_PATH
from vidtok_edge.runtime.recording.exports.set_document import Document, said

try:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]
except ImportError:
    raise MissingDependency("pyarrow", "datasets", "The LeRobot layout") from None

__all__ = ["LeRobotBefore"]

_FACTS = ("min", "max", "mean", "std", "q01", "q10", "q50", "q90", "q99")
_OF_VIDEO = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
_LARGEST_TASKS = 16 << 20  # bytes
_MOST = 1e39  # of a statistic: no float32 is more, and its square is a number


@dataclass(frozen=True, slots=True, kw_only=True)
class LeRobotBefore:
    """What is there, and goes on."""

    info: Mapping[str, Any]
    episodes: int
    rows: int
    tasks: Sequence[str]
    """By their index."""
    statistics: Mapping[str, Mapping[str, NDArray[Any]]]

    @classmethod
    def of(cls, folder: Path, features: Mapping[str, Any]) -> LeRobotBefore:
        """Read a dataset to which rows of `features` are to be added.

        Raises DatasetError: it has other features, or was changed to what cannot be added to.
        """
        info = Document.load(folder / INFO)
        features = json.loads(json.dumps(features))  # as what is there was read
        there = info.of("features").content
        _require_features(folder, there, features)
        episodes, rows = info.whole("total_episodes"), info.whole("total_frames")
        splits = info.of("splits").content
        if splits != {"train": f"0:{episodes}"}:
            raise DatasetError(
                f"{folder} has the splits {said(dict(splits))[:80]}, and what is added would be in "
                "none. Add to a dataset whose one split is train, and split it afterwards."
            )
        if RECONSTRUCTION in features and info.part("video_path") != VIDEO_PATH:
            raise info.wrong("video_path", info.part("video_path"))
        _require_columns(folder, features)
        return cls(
            # In the order that is there, with the words of the rows that come.
            info={**info.content, "features": {name: features[name] for name in there}},
            episodes=episodes,
            rows=rows,
            tasks=_tasks(folder / "meta" / "tasks.parquet"),
            statistics=_statistics(Document.load(folder / "meta" / "stats.json"), features),
        )

    def info_with(self, *, episodes: int, rows: int, tasks: int) -> dict[str, Any]:
        """`meta/info.json` with so many more episodes; `rows` and `tasks` in all."""
        every = self.episodes + episodes
        totals = {"total_episodes": every, "total_frames": rows, "total_tasks": tasks}
        return {**self.info, **totals, "splits": {"train": f"0:{every}"}}


def _require_features(folder: Path, there: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    differ = sorted(
        name
        for name in {*there, *own}
        if there.get(name) != own.get(name) and not _more_words(there.get(name), own.get(name))
    )
    if not differ:
        return
    _require_video(folder, there.get(RECONSTRUCTION), own.get(RECONSTRUCTION))
    name = differ[0]
    had, has = (said(features.get(name, "none"))[:120] for features in (there, own))
    raise DatasetError(
        f"{folder} and what is to be added differ in the features {', '.join(differ)[:120]}: "
        f"{name} is {had}, and {has}. Export the same channels under the same names, or into a "
        "folder of its own."
    )


def _more_words(there: Any, own: Any) -> bool:
    """Whether both number the same words, behind which newer versions have more."""
    if not (isinstance(there, Mapping) and isinstance(own, Mapping)):
        return False
    had, has = (feature.get("info") for feature in (there, own))
    if not (isinstance(had, Mapping) and isinstance(has, Mapping)):
        return False
    words = had.get("words"), has.get("words")
    if not (isinstance(words[0], list) and isinstance(words[1], list) and words[0]):
        return False
    alike = {**there, "info": {**had, "words": None}} == {**own, "info": {**has, "words": None}}
    return alike and words[1][: len(words[0])] == words[0]


def _require_video(folder: Path, there: Any, own: Any) -> None:
    """Raise DatasetError where one has a video and the other has none, or another one."""
    if there == own:
        return
    if there is None:
        raise DatasetError(
            f"{folder} has no videos, and LeRobot wants one for every row or none. Leave --video "
            "out, or export into a folder of its own."
        )
    if own is None:
        raise DatasetError(
            f"{folder} has videos ({RECONSTRUCTION}), and LeRobot wants one for every row. Add "
            "--video and --bundle with the bundle of its tokenizer."
        )
    had, has = (_info_of(feature) for feature in (there, own))
    differ = [name for name in sorted({*had, *has}) if had.get(name) != has.get(name)]
    shown = ", ".join(
        f"{name} {said(had.get(name))[:60]} and {said(has.get(name))[:60]}" for name in differ[:4]
    )
    raise DatasetError(
        f"{folder} has videos of another kind than those added: {shown or said(there)[:120]}. "
        "Another encoder of PyAV made them, or another tool changed them. Export into a folder of "
        "its own."
    )


def _info_of(feature: Any) -> Mapping[str, Any]:
    info = feature.get("info") if isinstance(feature, dict) else None
    return info if isinstance(info, dict) else {}


def _require_columns(folder: Path, features: Mapping[str, Any]) -> None:
    """LeRobot reads the tables of episodes as one, so all must have the columns that are added."""
    for path in sorted((folder / "meta" / "episodes").rglob("*.parquet"))[:1]:
        try:
            names = {*pq.read_schema(path).names}
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DatasetError(f"{path} is damaged: {str(error)[:120]}. Copy it again.") from None
        missing = [name for name in features if f"stats/{name}/mean" not in names]
        has = {name for name in names if name.startswith("videos/")}
        expected = {f"videos/{RECONSTRUCTION}/{one}" for one in _OF_VIDEO}
        if missing or has != (expected if RECONSTRUCTION in features else set()):
            raise DatasetError(
                f"{path} has not the columns that export-recording writes, as other tools changed "
                "it. Export into a folder of its own, and merge both with lerobot-edit-dataset."
            )
        return
    raise DatasetError(f"{folder} has no table of its episodes. Copy it again, whole.")


def _tasks(path: Path) -> list[str]:
    try:
        if path.stat().st_size > _LARGEST_TASKS:
            raise DatasetError(f"{path} is larger than {_LARGEST_TASKS} bytes.")
        table = pq.read_table(path, use_threads=False)
        indices = table.column("task_index").to_pylist()
        [name] = [name for name in table.column_names if name != "task_index"]
        words = table.column(name).to_pylist()
    except (pa.ArrowException, OSError, ValueError, LookupError) as error:
        raise DatasetError(f"{path} cannot be read: {str(error)[:120]}. Copy it again.") from None
    pairs = sorted(zip(indices, words, strict=True), key=lambda pair: str(pair[0]))
    found = {index: word for index, word in pairs if isinstance(word, str)}
    if sorted(found) != list(range(len(indices))):
        raise DatasetError(f"{path} numbers its tasks {str(indices)[:80]}. Copy it again.")
    return [found[index] for index in range(len(indices))]


def _statistics(
    document: Document, features: Mapping[str, Any]
) -> dict[str, dict[str, NDArray[Any]]]:
    found = {}
    for name, feature in features.items():
        told = document.of(name)
        shape = (3, 1, 1) if feature["dtype"] == "video" else (feature["shape"][0],)
        facts: dict[str, NDArray[Any]] = {"count": told.numbers("count", 1)}
        for fact in _FACTS:
            values = told.content.get(fact)
            try:
                facts[fact] = np.array(values, np.float64)
            except (TypeError, ValueError, OverflowError):
                raise told.wrong(fact, values) from None
            if facts[fact].shape != shape or (np.abs(facts[fact]) > _MOST).any():
                raise told.wrong(fact, values)
        found[name] = facts
    return found
