"""Attention relevance of a BERT, rule by rule on relevances in float64: no gradient is taken anywhere.

Every rule gives the relevance of its inputs and what it keeps for itself (biases, the softmax), so that nothing is lost unseen. Source:
Achtibat et al. (2024), AttnLRP, ICML: eq. 8 (linear), proposition 3.1 (softmax), 3.3 (products), 3.4 (norms), section 3.3.3 (activations).
"""

from __future__ import annotations

import numpy as np
from scipy import special

kept = []  # what rules kept, in the order of the way back


def keep(before, *after):
    kept.append(float(before.sum() - sum(part.sum() for part in after)))


def linear_back(x, weight, bias, relevance):
    out = x @ weight.T + bias
    found = x * ((relevance / out) @ weight)
    keep(relevance, found)
    return found


def product_back(one, other, relevance):
    """Of `one @ other`, `(rows, inner) @ (inner, columns)`: half to each."""
    share = relevance / (one @ other)
    found = 0.5 * one * (share @ other.T), 0.5 * other * (one.T @ share)
    keep(relevance, *found)
    return found


def softmax_back(scores, shares, relevance):
    found = scores * (relevance - shares * relevance.sum(-1, keepdims=True))
    keep(relevance, found)
    return found


def norm(x, layer):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + layer["eps"]) * layer["weight"] + layer["bias"]


def norm_back(x, layer, relevance):
    """A fixed scale on what is left when the mean is taken away: a linear layer."""
    width = x.shape[-1]
    scale = layer["weight"] / np.sqrt((x - x.mean(-1, keepdims=True)).var(-1, keepdims=True) + layer["eps"])
    away = np.eye(width) - 1 / width
    share = relevance / ((x @ away) * scale + layer["bias"])
    found = x * ((share * scale) @ away)
    keep(relevance, found)
    return found


def sum_back(one, other, relevance):
    share = relevance / (one + other)
    return one * share, other * share


def gelu(x):
    return x * special.ndtr(x)


def parts_of(model):
    """The weights of a transformers BERT by the names used here."""
    state = {name: value.double().numpy() for name, value in model.state_dict().items()}
    eps = model.config.layer_norm_eps

    def linear(name):
        return state[f"{name}.weight"], state[f"{name}.bias"]

    def normed(name):
        return {"weight": state[f"{name}.weight"], "bias": state[f"{name}.bias"], "eps": eps}

    layers = []
    for place in range(model.config.num_hidden_layers):
        stem = f"bert.encoder.layer.{place}"
        names = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")
        layers.append(
            {name.split(".")[-1]: linear(f"{stem}.{name}") for name in names}
            | {"up": linear(f"{stem}.intermediate.dense"), "down": linear(f"{stem}.output.dense")}
            | {"first": normed(f"{stem}.attention.output.LayerNorm"), "second": normed(f"{stem}.output.LayerNorm")}
        )
    return state, layers, normed("bert.embeddings.LayerNorm"), linear("bert.pooler.dense"), linear("classifier")


def relevance_of(model, ids, target):
    """Relevance of each token's word, `(tokens,)`; the score; and all that was kept on the way, with what positions got."""
    kept.clear()
    state, layers, embedding_norm, pooler, classifier = parts_of(model)
    heads = model.config.num_attention_heads
    words = state["bert.embeddings.word_embeddings.weight"][ids]
    places = state["bert.embeddings.position_embeddings.weight"][: len(ids)] + state["bert.embeddings.token_type_embeddings.weight"][0]
    x, tape = norm(words + places, embedding_norm), []
    for layer in layers:
        query, key, value = (x @ layer[name][0].T + layer[name][1] for name in ("query", "key", "value"))
        size = x.shape[1] // heads
        cut = [slice(head * size, (head + 1) * size) for head in range(heads)]
        scores = [query[:, part] @ key[:, part].T / np.sqrt(size) for part in cut]
        shares = [special.softmax(each, axis=-1) for each in scores]
        context = np.concatenate([share @ value[:, part] for share, part in zip(shares, cut, strict=True)], axis=1)
        attended = context @ layer["dense"][0].T + layer["dense"][1]
        between = norm(x + attended, layer["first"])
        inner = between @ layer["up"][0].T + layer["up"][1]
        out = gelu(inner) @ layer["down"][0].T + layer["down"][1]
        tape.append((layer, x, query, key, value, cut, scores, shares, context, attended, between, inner, out))
        x = norm(between + out, layer["second"])
    pooled = x[:1] @ pooler[0].T + pooler[1]
    logits = np.tanh(pooled) @ classifier[0].T + classifier[1]
    sign = np.array([[-1.0, 1.0]]) if target else np.array([[1.0, -1.0]])
    relevance = linear_back(np.tanh(pooled), *classifier, sign * logits)  # the score is one logit less the other
    relevance = linear_back(x[:1], *pooler, relevance)  # tanh hands on what it gets
    relevance = np.concatenate([relevance, np.zeros_like(x[1:])])
    for layer, x, query, key, value, cut, scores, shares, context, attended, between, inner, out in reversed(tape):
        relevance = norm_back(between + out, layer["second"], relevance)
        stays, goes = sum_back(between, out, relevance)
        goes = linear_back(between, *layer["up"], linear_back(gelu(inner), *layer["down"], goes))
        relevance = norm_back(x + attended, layer["first"], stays + goes)
        stays, goes = sum_back(x, attended, relevance)
        goes = linear_back(context, *layer["dense"], goes)
        to = {name: np.zeros_like(x) for name in ("query", "key", "value")}
        for part, score, share in zip(cut, scores, shares, strict=True):
            to_share, to["value"][:, part] = product_back(share, value[:, part], goes[:, part])
            to["query"][:, part], to_key = product_back(query[:, part], key[:, part].T, softmax_back(score, share, to_share))
            to["key"][:, part] = to_key.T
        relevance = stays + sum(linear_back(x, *layer[name], to[name]) for name in to)
    relevance = norm_back(words + places, embedding_norm, relevance)
    to_words, to_places = sum_back(words, places, relevance)
    return to_words.sum(-1), float((sign * logits).sum()), sum(kept) + to_places.sum()
