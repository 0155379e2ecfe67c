"""Golden streams in bundles: written, read back, and refused in words."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_golden import write_tiny_golden

from vidtok_edge.errors import GoldenStreamError
from vidtok_edge.hashes import sha256_of
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.manifest.graphs import Placement
from vidtok_edge.runtime.proving.golden import ARRAYS, FACTS, Given, GoldenStream, margin_bytes


def change(folder: Path, **changes: object) -> None:
    """Write other facts, with the hash of the arrays as they are."""
    plain = json.loads((folder / FACTS).read_text())
    plain |= {"arrays_sha256": sha256_of(folder / ARRAYS), **changes}
    (folder / FACTS).write_text(json.dumps(plain))


def test_what_was_saved_is_read(tiny: Path) -> None:
    made = write_tiny_golden(tiny)
    given = Given(
        precision="int8",
        placement=Placement.TENSORRT,
        library="x",
        encoder=(1.0,),
        decoder=(9.5,),
    )
    made = replace(made, facts=replace(made.facts, given=(given,)))
    made.save(tiny)
    found = GoldenStream.load(tiny, Bundle.load(tiny).manifest)
    assert found.facts == made.facts
    np.testing.assert_array_equal(found.latents, made.latents)
    np.testing.assert_array_equal(found.samples, made.samples)
    assert found.latents.dtype == np.int32
    assert [len(list(found.frames())), len(list(found.decoder_values()))] == [19, 8]
    levels = found.levels_from_boundary()
    assert levels is not None and levels.max() == 0.5
    graph = Bundle.load(tiny).manifest.graphs[0]
    assert found.given(graph) is None
    assert found.given(replace(graph, precision="int8")) == given


def test_margins_are_kept_as_bytes_and_never_made_smaller() -> None:
    margin = np.array([0.0, 1e-4, 0.009, 0.25, 0.5, 0.6])
    kept = margin_bytes(margin)
    assert kept.tolist() == [0, 1, 5, 128, 255, 255]
    assert (kept / 510 >= np.minimum(margin, 0.5)).all()


def missing(folder: Path) -> None:
    (folder / FACTS).unlink()


def cut_off(folder: Path) -> None:
    (folder / FACTS).write_bytes((folder / FACTS).read_bytes()[:300])


def no_object(folder: Path) -> None:
    (folder / FACTS).write_text("[1]")


def of_a_later_schema(folder: Path) -> None:
    change(folder, schema=2)


def of_other_weights(folder: Path) -> None:
    change(folder, weights_sha256="0" * 64)


def of_another_size(folder: Path) -> None:
    change(folder, height=32)


def of_another_recipe(folder: Path) -> None:
    change(folder, recipe="scenes 2")


def of_a_field_too_few(folder: Path) -> None:
    plain = json.loads((folder / FACTS).read_text())
    del plain["cut_frame"]
    (folder / FACTS).write_text(json.dumps(plain))


def no_arrays(folder: Path) -> None:
    (folder / ARRAYS).unlink()


def arrays_changed(folder: Path) -> None:
    with (folder / ARRAYS).open("r+b") as file:
        file.seek(60)
        file.write(b"??")


def arrays_too_large(folder: Path) -> None:
    with (folder / ARRAYS).open("ab") as file:
        file.truncate(1 << 31)


def no_zip(folder: Path) -> None:
    (folder / ARRAYS).write_bytes(b"PK")
    change(folder)


def an_array_too_few(folder: Path) -> None:
    with zipfile.ZipFile(folder / ARRAYS, "w") as archive:
        archive.writestr("a.npy", b"")
    change(folder)


def of_a_huge_shape(folder: Path) -> None:
    change(folder, latents=9999)


def endless(folder: Path) -> None:
    change(folder, decoder_latents=10**9)


def tokens_of_a_larger_codebook(folder: Path) -> None:
    golden = GoldenStream.load(folder, Bundle.load(folder).manifest)
    replace(golden, latents=golden.latents + 40_000).save(folder)
    change(folder)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (missing, r"has no golden stream \(golden/golden.json\)"),
        (cut_off, "cannot be used: .* Export the bundle again"),
        (no_object, "it is no object"),
        (of_a_later_schema, "its schema is 2, and this toolkit reads 1"),
        (of_other_weights, "it is of another bundle: weights_sha256 differ"),
        (of_another_size, "it is of another bundle: height differ"),
        (of_another_recipe, "its frames are of 'scenes 2', not of 'scenes 1'"),
        (of_a_field_too_few, "cut_frame is missing"),
        (no_arrays, "No such file"),
        (arrays_changed, "golden.npz has SHA-256 .*…, golden.json says"),
        (arrays_too_large, "golden.npz has more than 16 MiB"),
        (no_zip, "not a zip file"),
        (an_array_too_few, "latents"),
        (of_a_huge_shape, r"latents is uint16 \[6, 2, 2\], expected \[9999, 2, 2\]"),
        (endless, "expected 1 to 10000"),
        (tokens_of_a_larger_codebook, "tokens up to .*; there are 32768"),
    ],
)
def test_what_cannot_be_used_is_said(tiny: Path, damage: Callable[[Path], None], said: str) -> None:
    write_tiny_golden(tiny)
    damage(tiny)
    bundle = Bundle.load(tiny)  # it runs all the same
    with pytest.raises(GoldenStreamError, match=said) as caught:
        GoldenStream.load(tiny, bundle.manifest)
    assert "Export the bundle again." in str(caught.value)
