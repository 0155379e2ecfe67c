"""The picture and the numbers behind it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vidtok_edge.calib.budget import Budget, MixPoint
from vidtok_edge.calib.plot import PICTURE, plot_mixes
from vidtok_edge.calib.sensitivity import LayerDamage
from vidtok_edge.calib.sensitivity_report import REPORT, write_report
from vidtok_edge.errors import OutputNotWritable

POINTS = (
    MixPoint(work_int8_share=0.0, tokens_equal=1.0, loss_db=0.0, psnr_db=math.inf, layers=()),
    MixPoint(work_int8_share=0.5, tokens_equal=0.95, loss_db=0.1, psnr_db=42.0, layers=("a",)),
    MixPoint(work_int8_share=0.9, tokens_equal=0.85, loss_db=0.6, psnr_db=38.0, layers=("a", "b")),
)
DAMAGES = (
    LayerDamage(
        kind="encoder",
        layer="b",
        level="int8",
        work_share=0.4,
        tokens_equal=0.9,
        psnr_db=39.0,
        loss_db=0.5,
    ),
)


@pytest.mark.parametrize("tokens", [True, False])
def test_the_picture_is_there_and_shows_something(tokens: bool, tmp_path: Path) -> None:
    points = (
        POINTS
        if tokens
        else tuple(
            MixPoint(
                work_int8_share=p.work_int8_share,
                tokens_equal=None,
                loss_db=p.loss_db,
                psnr_db=p.psnr_db,
                layers=p.layers,
            )
            for p in POINTS
        )
    )
    budget = Budget(0.5, 0.9 if tokens else None)
    path = plot_mixes(tmp_path, "a model", points, points[1], budget)
    assert path == tmp_path / PICTURE
    with Image.open(path) as picture:
        assert picture.format == "PNG" and picture.width == 900
        assert picture.height == (780 if tokens else 480)
        assert np.asarray(picture.convert("L")).std() > 5
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_one_point_is_enough(tmp_path: Path) -> None:
    plot_mixes(tmp_path, "a model", POINTS[:1], POINTS[0], Budget())


def test_a_bundle_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("a file")
    with pytest.raises(OutputNotWritable):
        plot_mixes(tmp_path, "a model", POINTS, POINTS[1], Budget())


def test_the_report_has_all_numbers_and_is_json(tmp_path: Path) -> None:
    path = write_report(
        tmp_path,
        clip="a.mp4",
        frames=21,
        fp32_psnr_db=30.5,
        budget=Budget(0.5),
        chosen=POINTS[1],
        points=POINTS,
        damages=DAMAGES,
    )
    assert path == tmp_path / REPORT

    def no_constants(name: str) -> None:
        raise AssertionError(name)

    value = json.loads(path.read_text(), parse_constant=no_constants)
    assert value["mixes"][0]["psnr_db"] is None
    assert value["chosen"]["layers"] == ["a"]
    assert value["budget"] == {"loss_db": 0.5, "tokens_equal": None}
    assert value["layers"][0]["layer"] == "b" and value["layers"][0]["work_share"] == 0.4
