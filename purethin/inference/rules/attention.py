"""Attention in one operator: queries meet keys over the head dim, and the softmax runs over the
keys.
"""

from __future__ import annotations

from purethin.inference.rules.call import Call, Dims, broadcast, rule
from purethin.inference.rules.laws import Attended
from purethin.inference.solver import find, product, variable


@rule("scaled_dot_product_attention")
def attention(c: Call) -> Dims:
    """q's last dim is k's, k's tokens are v's; out = q's leading dims and tokens, then v's last
    dim.
    """
    query, key, value, mask = c["query"], c["key"], c["value"], c["attn_mask"]
    q, k, v = c.dims(query), c.dims(key), c.dims(value)
    c.tie(q[-1], k[-1])
    c.tie(k[-2], v[-2])
    lead = [c.dims(t)[:-2] for t in (query, key, value)]
    if c.get("enable_gqa") and len(q) > 2 and find(q[-3]).size != find(k[-3]).size:
        c.tie(k[-3], v[-3])
        repeats = variable(find(q[-3]).size // find(k[-3]).size)
        c.called(repeats, "rep")
        c.tie(q[-3], product([k[-3], repeats]))
        lead = [row[:-1] for row in lead]
        heads = [q[-3]]
    else:
        heads = []
    batch = [*broadcast(c, lead, c.shape[: len(q) - 2 - len(heads)]), *heads]
    if mask is not None:
        scores = [*batch, q[-2], k[-2]]
        broadcast(c, [scores, c.dims(mask)], [find(d).size for d in scores])
    for d in (*k[:-2], *q[:-2]):
        c.called(d, "heads")
    c.called(q[-1], "head_dim")
    c.called(v[-1], "value_dim")
    c.law = Attended(query, key, value, scaled=c["scale"] is None)
    c.costs(1, [*batch, q[-2], k[-2], q[-1]])
    c.costs(1, [*batch, q[-2], k[-2], v[-1]])
    return [*batch, q[-2], v[-1]]
