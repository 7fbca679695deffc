"""Attention in one operator: queries meet keys over the head dim, and the softmax runs over the
keys.
"""

from __future__ import annotations

from purethin.inference.nodes import find, product, variable
from purethin.inference.rules.call import Call, Dims, broadcast, rule
from purethin.inference.rules.laws import Attended


def attended(c: Call) -> Attended:
    """Queries, keys and values; without a scale given, it is read from the head dim's size."""
    return Attended(c["query"], c["key"], c["value"], scaled=c["scale"] is None)


@rule("scaled_dot_product_attention", law=attended)
def attention(c: Call) -> Dims:
    """q's last dim is k's, k's tokens are v's; out = q's leading dims and tokens, then v's last
    dim.
    """
    q, k, v = (c.dims(c[name]) for name in ("query", "key", "value"))
    c.tie(q[-1], k[-1])
    c.tie(k[-2], v[-2])
    lead, heads = [row[:-2] for row in (q, k, v)], []
    if c.get("enable_gqa") and len(q) > 2 and find(q[-3]).size != find(k[-3]).size:
        c.tie(k[-3], v[-3])
        repeats = variable(find(q[-3]).size // find(k[-3]).size)
        c.called("rep", repeats)
        c.tie(q[-3], product([k[-3], repeats]))
        lead, heads = [row[:-1] for row in lead], [q[-3]]
    batch = [*broadcast(c, lead, c.shape[: len(q) - 2 - len(heads)]), *heads]
    if (mask := c["attn_mask"]) is not None:
        scores = [*batch, q[-2], k[-2]]
        broadcast(c, [scores, c.dims(mask)], [find(d).size for d in scores])
    c.called("heads", *k[:-2], *q[:-2])
    c.called("head_dim", q[-1])
    c.called("value_dim", v[-1])
    c.costs(1, [*batch, q[-2], k[-2], q[-1]])
    c.costs(1, [*batch, q[-2], k[-2], v[-1]])
    return [*batch, q[-2], v[-1]]
