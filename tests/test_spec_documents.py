"""The tables of docs/model.md and docs/streaming.md are what the code gives; citations hold."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from math import prod
from pathlib import Path

import pytest
import torch
from document_tables import ROOT, Row, sections_of, table_in
from torch import Tensor, nn

from vidtok_edge.lowering.facts import facts_of
from vidtok_edge.lowering.interface import KINDS, Kind, interface_of, traced_without_data
from vidtok_edge.lowering.numerics import FP32
from vidtok_edge.lowering.step import StepOptions
from vidtok_edge.lowering.timeline import CausalTimeline
from vidtok_edge.runtime.manifest.graphs import CACHE_PREFIX, NEW_CACHE_PREFIX
from vidtok_edge.runtime.streaming.framing import Framing
from vidtok_edge.variants import EMBEDDED, VARIANTS, Variant
from vidtok_edge.vidtok_ref import VidTok
from vidtok_edge.vidtok_ref.checkpoint import shapes_of

MODEL, STREAMING = "docs/model.md", "docs/streaming.md"
EXAMPLE = VARIANTS["vidtok_fsq_causal_488_32768_v1_1"]
"""The variant of the tables that show one."""

pytestmark = pytest.mark.skipif(
    not (ROOT / MODEL).exists(), reason="the documents are those of a git checkout"
)


def _listed(values: tuple[int, ...]) -> str:
    return " ".join(map(str, values)) or "-"


def _variant_row(variant: Variant) -> Row:
    return {
        "variant": variant.name,
        "version": variant.version,
        "z": str(variant.z_channels),
        "tokens": str(variant.codebook_size or "-"),
        "f": str(variant.time_factor),
        "s": str(variant.space_factor),
        "multipliers": _listed(variant.ch_mult),
        "space down": _listed(variant.spatial_down),
        "time down": _listed(variant.temporal_down),
        "space up": _listed(variant.spatial_up),
        "time up": _listed(variant.temporal_up),
    }


def test_the_table_of_variants() -> None:
    assert table_in(MODEL, "1.2") == [_variant_row(variant) for variant in VARIANTS.values()]
    published = [variant for variant in VARIANTS.values() if variant is not EMBEDDED]
    assert {(v.ch, v.num_res_blocks) for v in published} == {(128, 2)}
    assert {level for v in VARIANTS.values() for level in v.levels} == {8}
    assert (EMBEDDED.ch, EMBEDDED.num_res_blocks) == (16, 1)


def _in_braces(pattern: str) -> list[str]:
    """As a shell reads it.

    >>> _in_braces("a{b,c}.{0,1}")
    ['ab.0', 'ab.1', 'ac.0', 'ac.1']
    """
    parts = re.split(r"\{([^}]*)\}", pattern)
    choices = [part.split(",") if i % 2 else [part] for i, part in enumerate(parts)]
    return ["".join(chosen) for chosen in itertools.product(*choices)]


def _keys(pattern: str, causal: bool) -> re.Pattern[str]:
    """The keys that a row of the table stands for; L, J are any number, `(conv.)` if causal."""
    pattern = pattern.replace("(conv.)", "conv." if causal else "")
    options = [
        re.escape(p).replace(r"\.L", r"\.\d+").replace(r"\.J", r"\.\d+")
        for p in _in_braces(pattern)
    ]
    return re.compile(rf"(?:encoder|decoder)\.(?:{'|'.join(options)})")


@pytest.mark.parametrize("name", VARIANTS)
def test_every_key_is_of_one_row_of_the_table(name: str) -> None:
    variant, rows = VARIANTS[name], table_in(MODEL, "5.2")
    patterns = [(_keys(row["keys"], variant.causal), row["shape"]) for row in rows]
    used = set()
    for key, shape in shapes_of(variant).items():
        [(pattern, written)] = [p for p in patterns if p[0].fullmatch(key)]
        used.add(pattern)
        sizes = written.strip("[]").split(", ")
        assert len(sizes) == len(shape), key
        numbers = [(int(a), b) for a, b in zip(sizes, shape, strict=True) if a.isdigit()]
        assert all(a == b for a, b in numbers), key
    assert len(used) == len(patterns)


def _parameters(variant: Variant, kind: Kind) -> int:
    return sum(prod(s) for key, s in shapes_of(variant).items() if key.startswith(kind))


def test_the_table_of_parameters() -> None:
    for row in table_in(MODEL, "5.3"):
        variant = VARIANTS[row["variant"]]
        assert row["keys"] == str(len(shapes_of(variant)))
        for kind in KINDS:
            assert row[kind] == f"{_parameters(variant, kind) / 1e6:.2f}", variant.name


def _stages(variant: Variant, kind: Kind, size: int) -> Iterator[tuple[str, list[int]]]:
    """Name and shape [C, T, H, W] behind each stage, for the frames of one latent."""
    found: list[tuple[str, list[int]]] = []

    def note(name: str, frames_first: bool) -> object:
        def hook(module: nn.Module, given: object, result: Tensor) -> None:
            shape = list(result.shape if frames_first else result.shape[1:])
            found.append((name, [shape[1], shape[0], *shape[2:]] if frames_first else shape))

        return hook

    with torch.device("meta"), torch.inference_mode():
        half = VidTok(variant).get_submodule(kind)
        for name, module in half.named_modules():
            spatial = re.fullmatch(r"(?:down|up)\.\d+\.(?:block\.\d+|\w+sample)", name)
            if spatial or re.fullmatch(r"\w+_temporal\.\d+\.\w+sample|conv_\w+|mid", name):
                module.register_forward_hook(note(name, bool(spatial)))
        if kind == "encoder":
            half(torch.zeros(1, 3, variant.time_factor, size, size))
        else:
            s = variant.space_factor
            half(torch.zeros(1, variant.z_channels, 1, size // s, size // s))
    yield from found


@pytest.mark.parametrize(("kind", "section"), [("encoder", "3.1"), ("decoder", "3.2")])
def test_the_shapes_behind_each_stage(kind: Kind, section: str) -> None:
    found = list(_stages(EXAMPLE, kind, 256))
    rows = [(n, r["C, T, H, W"]) for r in table_in(MODEL, section) for n in _in_braces(r["stage"])]
    assert rows == [(name, ", ".join(map(str, shape))) for name, shape in found]


def _cached(variant: Variant, kind: Kind) -> list[tuple[str, str]]:
    """The layer that reads each cache, and the cache's shape, in the order of the graph."""
    names: list[str] = []
    options = StepOptions(256, 256, form="conv2d")
    with torch.device("meta"):
        step, run = traced_without_data(variant, options, kind, FP32)
        half = step.get_submodule(kind)
        for name, module in half.named_modules():
            linear = variant.delayed and bool(re.fullmatch(r"up_temporal\.\d+\.upsample", name))
            before: int = getattr(module, "before", 0)
            if linear or before:
                module.register_forward_pre_hook(lambda *_, name=name: names.append(name))
        _, time = run()
    assert isinstance(time, CausalTimeline)
    shapes = [", ".join(map(str, cache.shape)) for cache in time.caches_in]
    if variant.delayed and kind == "decoder":
        names.insert(0, "second")
    return list(zip(names, shapes, strict=True))


@pytest.mark.parametrize(("kind", "section"), [("encoder", "4.3"), ("decoder", "4.4")])
def test_the_caches_in_order(kind: Kind, section: str) -> None:
    rows = table_in(STREAMING, section)
    written = [(name, row["shape of each"]) for row in rows for name in _in_braces(row["read by"])]
    assert written == _cached(EXAMPLE, kind)
    numbers = [f"{i:03d}" for i in range(len(written))]
    for row in rows:
        count = len(_in_braces(row["read by"]))
        mine, numbers = numbers[:count], numbers[count:]
        assert row["cache_"] == (mine[0] if count == 1 else f"{mine[0]} to {mine[-1]}")


def _host_tensors(variant: Variant) -> Iterator[tuple[str, ...]]:
    """Graph, side, name, type and shape in letters of what a step graph has but caches."""
    options = StepOptions(72, 88, streams=6, chunk=2)
    letters = {6: "B", 2: "N", 8: "fN", 72: "H", 88: "W", 9: "h", 11: "w"}
    letters[variant.z_channels] = "z"
    for kind in KINDS:
        interface = interface_of(variant, options, kind)
        for side, specs in (("in", interface.inputs), ("out", interface.outputs)):
            for spec in specs:
                if not spec.name.startswith((CACHE_PREFIX, NEW_CACHE_PREFIX)):
                    shape = ", ".join(letters.get(n, str(n)) for n in spec.shape)
                    yield kind, side, spec.name, spec.dtype, shape


def test_the_tensors_of_a_step_graph() -> None:
    rows = table_in(STREAMING, "3.1")
    written = {(r["graph"], r["side"], r["tensor"], r["type"], r["shape"]) for r in rows}
    assert len(written) == len(rows)
    kl = VARIANTS["vidtok_kl_causal_488_16chn_v1_1"]
    assert written == {*_host_tensors(EXAMPLE), *_host_tensors(kl)}


def _spans(frames: list[int]) -> str:
    """
    >>> _spans([0]), _spans([1, 2, 3]), _spans([])
    ('0', '1 to 3', '-')
    """
    if not frames:
        return "-"
    return str(frames[0]) if len(frames) == 1 else f"{frames[0]} to {frames[-1]}"


def test_the_frames_that_each_call_gives() -> None:
    """With one latent per call, four latents and f = 4."""
    for row, call in zip(table_in(STREAMING, "5.4"), range(5), strict=True):
        raw = list(range(4 * call, 4 * call + 4))
        assert row["raw outputs"] == _spans(raw)
        for version, delayed in (("v1.0", False), ("v1.1", True)):
            framing = Framing(4, causal=True, delayed=delayed)
            end = framing.first_frame(4)
            frames = [f for f in map(framing.frame_of_output, raw) if f is not None and f < end]
            none = call == 4 and not delayed  # nothing is held back, so there is no such call
            assert row[f"frames, {version}"] == _spans([] if none else frames)
    assert Framing.of(facts_of(EXAMPLE)) == Framing(4, causal=True, delayed=True)


def _reached(model: VidTok, kind: Kind, units: int) -> tuple[int, int]:
    """First and last output, counted from the middle input's own, that a NaN there gets into.

    Inputs are frames in units of f for an encoder, latents for a decoder; outputs the other.
    """
    variant = model.variant
    f, s = variant.time_factor, variant.space_factor
    if kind == "encoder":
        given, middle = torch.zeros(1, 3, units * f, s, s), slice(units // 2 * f, None)
        given[:, :, middle.start : middle.start + f] = torch.nan
        result, origin = model.encoder(given), units // 2
    else:
        given = torch.zeros(1, variant.z_channels, units, 1, 1)
        given[:, :, units // 2] = torch.nan
        result, origin = model.decoder(given), units // 2 * f
    hit = result.isnan().flatten(3).any(3).any(1)[0].nonzero().flatten()
    return int(hit[0]) - origin, int(hit[-1]) - origin


@pytest.mark.parametrize("row", table_in(STREAMING, "1.2"), ids=lambda row: row["variant"])
def test_how_far_a_result_reaches(row: Row) -> None:
    variant = replace(VARIANTS[row["variant"]], ch=2)
    with torch.inference_mode():
        model = VidTok(variant)
        for kind in KINDS:
            assert row[kind] == "{} to {}".format(*_reached(model, kind, 160)), kind


_CITATION = re.compile(r"docs/(\w+)\.md,\s+section\s+(\d+(?:\.\d+)*)")


def _sources() -> list[Path]:
    """Every Python file of the checkout; links, environments and what builds left, left out."""
    folders = [p for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith(".")]
    own = [p for p in folders if p.name not in ("src", "build", "dist", "demo")]
    return sorted([*ROOT.glob("*.py"), *(path for p in own for path in p.rglob("*.py"))])


def _lost(text: str) -> list[str]:
    """The citations in `text` that lead to no section."""
    return [
        f"docs/{name}.md, section {number}"
        for name, number in _CITATION.findall(text)
        if number not in sections_of(f"docs/{name}.md")
    ]


def test_every_section_that_is_cited_exists() -> None:
    cited = 0
    for path in _sources():
        text, source = path.read_text(encoding="utf-8"), path.relative_to(ROOT)
        assert _lost(text) == [], source
        cited += len(_CITATION.findall(text))
        # A citation has this form alone: so that the test sees it.
        loose = re.findall(r"(?<!docs/)(?:streaming|model)\.md\b|\(architecture \d", text)
        assert path.name == Path(__file__).name or loose == [], source
    assert cited > 30


def test_a_citation_of_a_section_that_is_not_there_is_seen() -> None:
    assert _lost("as docs/streaming.md, section\n    5.1 and docs/model.md, section 2 say") == []
    wrong = "docs/streaming.md, section " + "99"
    assert _lost(f"(docs/model.md, section 2.1; {wrong})") == [wrong]


@pytest.mark.parametrize("document", [MODEL, STREAMING])
def test_sections_are_numbered_in_order(document: str) -> None:
    numbers = [tuple(map(int, number.split("."))) for number in sections_of(document)]
    assert numbers == sorted(numbers)
    tops = [number[0] for number in numbers if len(number) == 1]
    assert tops == list(range(1, len(tops) + 1))
    for top in tops:
        inner = [number[1] for number in numbers if len(number) == 2 and number[0] == top]
        assert inner == list(range(1, len(inner) + 1))


@pytest.mark.parametrize("document", [MODEL, STREAMING])
def test_sections_that_the_documents_name_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    text = text.split("## 1. ", 1)[1]  # above it stands how a docstring cites
    elsewhere = re.compile(r"\((\w+)\.md\),\s+section\s+(\d+(?:\.\d+)*)")
    for name, number in elsewhere.findall(text):
        assert number in sections_of(f"docs/{name}.md"), (name, number)
    here = re.findall(r"[Ss]ection\s+(\d+(?:\.\d+)*)", elsewhere.sub("", text))
    assert here and set(here) <= set(sections_of(document))
