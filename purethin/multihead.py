"""A stand-in for `nn.MultiheadAttention` whose heads can have any width.

Torch's class computes the head width as `embed_dim / num_heads`, and asserts it; so no head can
leave alone. The stand-in has the same parameters under the same names, states the widths and the
scale, and computes the same.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from purethin.parts import parts_of


class MultiheadAttention(nn.MultiheadAttention):
    """Attention of `num_heads` heads: queries and keys of width `head_dim`, values of width
    `value_dim`, scores times `scale`.

    Made from torch's own by `stand_in`. Shapes: `in_proj_weight` is `(heads head_dim + heads
    head_dim + heads value_dim)` by `embed_dim`, `out_proj.weight` is `embed_dim` by `(heads
    value_dim)`; the forward takes and returns what torch's does.
    """

    value_dim: int
    scale: float

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The attention's output, and its weights (averaged over heads unless told otherwise) where
        they are asked for.
        """
        batched = query.dim() == 3
        if is_causal and attn_mask is None:
            raise RuntimeError("is_causal is a hint about attn_mask: give the mask too")
        if not batched:
            query, key, value = query[None], key[None], value[None]
            key_padding_mask = None if key_padding_mask is None else key_padding_mask[None]
        elif not self.batch_first:
            query, key, value = query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1)

        if not self.num_heads and not need_weights:
            return self._nothing(query, batched), None
        q, k, v = self._heads(*self._projected(query, key, value))
        causal = is_causal and key_padding_mask is None and not need_weights
        mask = None if causal else self._mask(attn_mask, key_padding_mask, k.shape[2], query)
        dropout = self.dropout if self.training else 0.0
        if need_weights:
            scores = (q * self.scale) @ k.transpose(-2, -1)
            weights = F.dropout((scores if mask is None else scores + mask).softmax(-1), dropout)
            mixed = weights @ v
            weights = weights.mean(1) if average_attn_weights else weights
            weights = weights if batched else weights[0]
        else:
            weights = None
            mixed = F.scaled_dot_product_attention(q, k, v, mask, dropout, causal, scale=self.scale)
        out = F.linear(mixed.transpose(1, 2).flatten(2), self.out_proj.weight, self.out_proj.bias)
        if not batched:
            return out[0], weights
        return (out if self.batch_first else out.transpose(0, 1)), weights

    def _nothing(self, query: Tensor, batched: bool) -> Tensor:
        """What no head gives: zeros, and the output's bias, of the query's shape alone."""
        out = query.new_zeros((*query.shape[:-1], self.out_proj.weight.shape[0]))
        out = out if self.out_proj.bias is None else out + self.out_proj.bias
        if not batched:
            return out[0]
        return out if self.batch_first else out.transpose(0, 1)

    def _heads(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values by head, with the tokens that the module itself appends."""
        if self.bias_k is not None and self.bias_v is not None:
            k, v = _appended(k, self.bias_k), _appended(v, self.bias_v)
        q = q.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)
        k = k.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)
        v = v.unflatten(-1, (self.num_heads, self.value_dim)).transpose(1, 2)
        if self.add_zero_attn:
            k, v = F.pad(k, (0, 0, 0, 1)), F.pad(v, (0, 0, 0, 1))
        return q, k, v

    def _projected(
        self, query: Tensor, key: Tensor, value: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The three projections, from one packed weight or from three."""
        inner, outer = self.num_heads * self.head_dim, self.num_heads * self.value_dim
        sizes = [inner, inner, outer]
        biases = [None] * 3 if self.in_proj_bias is None else self.in_proj_bias.split(sizes)
        if self.in_proj_weight is None:
            weights = [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]
        elif query is key is value:
            q, k, v = F.linear(query, self.in_proj_weight, self.in_proj_bias).split(sizes, -1)
            return q, k, v
        else:
            weights = list(self.in_proj_weight.split(sizes))
        q, k, v = (
            F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)
        )
        return q, k, v

    def _mask(
        self, mask: Tensor | None, padding: Tensor | None, keys: int, like: Tensor
    ) -> Tensor | None:
        """Both masks as one that is added to the scores, batch by heads by queries by keys."""
        if mask is not None:
            mask = _additive(mask, like)
            mask = mask.unflatten(0, (-1, self.num_heads)) if mask.dim() == 3 else mask[None, None]
            mask = F.pad(mask, (0, keys - mask.shape[-1]))
        if padding is not None:
            padding = F.pad(_additive(padding, like)[:, None, None], (0, keys - padding.shape[-1]))
            mask = padding if mask is None else mask + padding
        return mask


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    """A mask of booleans (True = may not look) as one of numbers that are added."""
    if mask.is_floating_point():
        return mask.to(like.dtype)
    return like.new_zeros(mask.shape).masked_fill(mask, float("-inf"))


def _appended(x: Tensor, row: Tensor) -> Tensor:
    """One more token for each item of the batch."""
    return torch.cat([x, row.expand(x.shape[0], 1, -1)], 1)


def stand_in(model: nn.Module, paths: set[str] | None = None) -> dict[str, str]:
    """Turn torch's attention modules of a copied model (at these paths, or all) into stand-ins:
    `{path: class name}`.
    """
    done: dict[str, str] = {}
    for path, module in parts_of(model).items():
        if type(module) is nn.MultiheadAttention and (paths is None or path in paths):
            module.__class__ = MultiheadAttention
            module.value_dim = module.head_dim
            module.scale = module.head_dim**-0.5
            module._qkv_same_embed_dim = (
                False  # an encoder layer's fast path would compute the head width by itself
            )
            done[path] = f"{MultiheadAttention.__module__}.{MultiheadAttention.__qualname__}"
    for module in model.modules() if done else ():
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False  # nested tensors are for the fast path
    return done
