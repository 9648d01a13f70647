"""Training real (tiny) models: the quicker route against the model's own, the Trainer as oracle, and fit from end to end."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from train_kit import LABELS, Log, split

from optional import adaptations_here
from tiny import tiny_bert
from trustbase.errors import RecipeError, StaleRunError
from trustbase.model.adapt import adapt
from trustbase.model.checkpoint import load_checkpoint
from trustbase.model.load import resolve_base
from trustbase.model.options import AdaptOptions
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.model.tokenizer import encode, load_tokenizer
from trustbase.train import table
from trustbase.train.fit import fit
from trustbase.train.forward import Forward
from trustbase.train.labelled import TokenRows
from trustbase.train.loop import train
from trustbase.train.objectives.classification import classification
from trustbase.train.options import TrainOptions
from trustbase.train.quick import Dropout, QuickBert
from trustbase.train.table import used_rows
from trustbase.train.update import plain

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return resolve_base(str(tiny_bert(tmp_path_factory.mktemp("base"))))


def material_of(base, count=40, seed=0):
    part = split(count, "train", seed)
    encoded = encode(load_tokenizer(base.folder), part.texts, max_length=32)
    return TokenRows(encoded.ids, encoded.offsets, part.labels, 0)


def gradients(model, logits, labels):
    model.zero_grad()
    cross_entropy(logits.float(), labels).backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("method", adaptations_here(["full", "lora", "qlora", "adalora", "adapter"]))
@pytest.mark.parametrize("padded", [False, True])
def test_the_quicker_route_has_the_models_own_scores_and_gradients(base, method, padded, monkeypatch):
    monkeypatch.setattr(table, "_LARGE_TABLE", 100)
    model = adapt(TEXT_CLASSIFICATION.build(base, LABELS, seed=0), AdaptOptions(method=method), seed=0).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad and method in ("adalora", "adapter"):  # which begin by doing nothing
                parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    material = material_of(base)
    order = np.argsort(material.lengths, kind="stable")
    batch = material.take(order[[0, 5, 20, 39]] if padded else order[:1], "cpu")
    wanted = gradients(model, model(**batch.inputs).logits, batch.labels)
    route = QuickBert(model, Dropout())
    with used_rows(model, material.tokens) as tables:
        assert len(tables) == (1 if method == "full" else 0)
        scores = route.logits(batch.inputs, torch.float32)
        found = gradients(model, scores, batch.labels)
        for each in tables:
            whole = torch.zeros_like(each.weight)
            whole[material.tokens] = each.rows.grad
            found |= {name: whole for name, parameter in model.named_parameters() if parameter is each.weight}
            each.clear()
            assert each.rows.grad is None
    assert torch.allclose(scores, model(**batch.inputs).logits, atol=1e-5)
    assert set(found) == set(wanted)
    for name, gradient in wanted.items():
        assert torch.allclose(found[name], gradient, atol=1e-5), name


@pytest.mark.parametrize("method", ["prefix", "prompt"])
def test_what_stands_in_front_of_a_text_takes_the_models_own_forward(base, method):
    model = adapt(TEXT_CLASSIFICATION.build(base, LABELS, seed=0), AdaptOptions(method=method), seed=0)
    forward = Forward(model, precision="fp32", device="cpu", seed=0)
    assert "puts in front of a text" in forward.try_quick(material_of(base)) and forward.route == "model"


@pytest.mark.parametrize("method", adaptations_here(["adapter", "prompt", "adalora", "qlora"]))
def test_gradients_are_the_same_where_activations_are_computed_again(base, method):
    batch = material_of(base).take(np.arange(6), "cpu")
    found = []
    for again in (False, True):
        model = adapt(TEXT_CLASSIFICATION.build(base, LABELS, seed=0, dropout=0.0), AdaptOptions(method=method), seed=0).train()
        if again:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        found.append(gradients(model, model(**batch.inputs).logits, batch.labels))
    assert set(found[0]) == set(found[1]) and all(torch.allclose(found[1][name], one, atol=1e-6) for name, one in found[0].items())


class Words(torch.nn.Sequential):
    def get_input_embeddings(self):
        return self[0]


def words(**options):
    torch.manual_seed(1)
    return Words(torch.nn.Embedding(20, 3, padding_idx=0, **options), torch.nn.Linear(3, 2))


def test_used_rows_train_like_a_whole_table_and_leave_no_trace(monkeypatch):
    monkeypatch.setattr(table, "_LARGE_TABLE", 10)
    ids = torch.randint(0, 15, (6, 4, 5), generator=torch.Generator().manual_seed(0))  # holds the padding row 0; 15 to 19 never occur
    results = []
    for by_rows in (False, True):
        model = words()
        base = model[0].weight.detach().clone()
        with used_rows(model, np.arange(15) if by_rows else None) as tables:
            trained = [each.rows for each in tables] or [model[0].weight]
            optimizer = torch.optim.AdamW([*trained, *model[1].parameters()], lr=0.1)
            for batches in zip(ids[::2], ids[1::2], strict=True):  # two batches an update
                for batch in batches:
                    model(batch).square().mean().backward()
                optimizer.step()
                for each in tables:
                    each.clear()
                optimizer.zero_grad()
            with torch.inference_mode():  # scoring reads trained rows and rows that training never met
                scored = model[0](torch.arange(20))
            assert torch.equal(scored, model[0].weight)
        assert "forward" not in model[0].__dict__
        results.append(model[0].weight.detach().clone())
    assert torch.allclose(results[0][:15], results[1][:15], atol=1e-6)
    assert torch.equal(results[1][15:], base[15:]) and not torch.equal(results[1][1:15], base[1:15])


def test_a_token_outside_the_used_rows_cannot_be_trained(monkeypatch):
    monkeypatch.setattr(table, "_LARGE_TABLE", 10)
    with used_rows(words(), np.arange(15)) as (each,), pytest.raises(IndexError):
        each._module(torch.tensor([15]))


def test_shared_frozen_and_other_tables_stay_whole(monkeypatch):
    monkeypatch.setattr(table, "_LARGE_TABLE", 10)
    tied = Words(torch.nn.Embedding(20, 3), torch.nn.Linear(3, 20, bias=False))
    tied[1].weight = tied[0].weight
    frozen = words()
    frozen[0].requires_grad_(False)
    for model, tokens in ((tied, np.arange(20)), (frozen, np.arange(20)), (words(sparse=True), np.arange(20)), (words(), None)):
        with used_rows(model, tokens) as tables:
            assert not tables


def test_dropout_drops_the_asked_share_and_keeps_the_mean():
    dropout, x = Dropout(), torch.ones(400, 1000)
    dropout.start(0, "dropout", 1)
    y = dropout(x, 0.1)
    assert float((y == 0).float().mean()) == pytest.approx(0.1, abs=4 * (0.09 / x.numel()) ** 0.5)
    assert float(y.max()) == pytest.approx(1 / 0.9, rel=1e-4) and len(y.unique()) == 2
    assert abs(float((y[:, :-1] * y[:, 1:]).mean()) - 1) < 0.005  # neighbours are independent
    dropout.start(0, "dropout", 1)
    assert torch.equal(dropout(x, 0.1), y) and not torch.equal(dropout(x, 0.1), y)
    dropout.stop()
    assert dropout(x, 0.1) is x


def test_a_route_that_differs_is_not_taken(base, monkeypatch):
    model, material = TEXT_CLASSIFICATION.build(base, LABELS, seed=0), material_of(base)
    forward = Forward(model, precision="fp32", device="cpu", seed=0)
    assert "agrees" in forward.try_quick(material) and forward.route == "quick"
    # a BERT that this route does not know, but that looks like the one it knows
    model.bert.encoder.layer[0].attention.self.scaling *= 2
    monkeypatch.setattr(QuickBert, "logits", lambda self, inputs, dtype, places=None: torch.zeros(len(inputs["input_ids"]), 2))
    other = Forward(model, precision="fp32", device="cpu", seed=0)
    assert "differs" in other.try_quick(material) and other.route == "model"


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_same_batches_through_the_trainer_give_the_same_losses(base, tmp_path, accumulation, monkeypatch):
    """The Trainer divides wrongly for BERT heads under accumulation unless `accepts_loss_kwargs` is False (transformers #47688)."""
    from transformers import Trainer, TrainingArguments

    monkeypatch.setattr(table, "_LARGE_TABLE", 100)
    material = material_of(base, 48)
    options = TrainOptions(
        epochs=2,
        batch_tokens=96,
        max_length=32,
        learning_rate=1e-3,
        warmup=0.2,
        weight_decay=0.1,
        accumulation=accumulation,
        precision="fp32",
        dropout=0,
    )
    log = Log()
    model = TEXT_CLASSIFICATION.build(base, LABELS, seed=0, dropout=0.0)
    forward = Forward(model, precision="fp32", device="cpu", seed=0)
    assert "agrees" in forward.try_quick(material)
    train(model, classification, plain, material, options=options, folder=tmp_path / "ours", forward=forward, emit=log)

    batches = [material.take(rows, "cpu") for epoch in (0, 1) for rows in material.plan(batch_tokens=96, seed=0, epoch=epoch)]
    if accumulation == 2:  # batches of equal size, or the Trainer's mean over batches is not the mean over rows
        batches = [material.take(np.arange(48)[i : i + 6], "cpu") for i in range(0, 48, 6)]
        ours = TEXT_CLASSIFICATION.build(base, LABELS, seed=0, dropout=0.0)
        log, _ = _ours_on(ours, batches, options, tmp_path / "again")
        model = ours
    peer = TEXT_CLASSIFICATION.build(base, LABELS, seed=0, dropout=0.0)
    peer.accepts_loss_kwargs = False

    class Fixed(Trainer):
        def get_train_dataloader(self):
            return torch.utils.data.DataLoader([{**batch.inputs, "labels": batch.labels} for batch in batches], batch_size=None)

    arguments = TrainingArguments(
        str(tmp_path / "peer"),
        num_train_epochs=1,
        learning_rate=1e-3,
        warmup_steps=0.2,
        weight_decay=0.1,
        gradient_accumulation_steps=accumulation,
        logging_steps=1,
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
        report_to=[],
        seed=0,
    )
    trainer = Fixed(peer, arguments)
    trainer.train()
    theirs = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    found = [fields["loss"] for fields in log.of("step")]
    assert len(found) == len(theirs) > 3
    assert found == pytest.approx([float(loss) for loss in theirs], abs=1e-5)
    untouched = np.setdiff1d(np.arange(model.config.vocab_size), material.tokens)
    start = TEXT_CLASSIFICATION.build(base, LABELS, seed=0).get_input_embeddings().weight
    peer.get_input_embeddings().weight.data[untouched] = start[untouched]  # rows of tokens that no batch holds are not decayed
    for (name, a), b in zip(model.named_parameters(), peer.parameters(), strict=True):
        # a bias of keys shifts all scores of a query alike: its true gradient is 0, and AdamW blows rounding up to whole steps
        assert name.endswith("key.bias") or torch.allclose(a, b, atol=2e-5), name


def _ours_on(model, batches, options, folder):
    """Our loop over given batches of one epoch."""

    class Given:
        tokens = np.unique(np.concatenate([batch.inputs["input_ids"].numpy().ravel() for batch in batches]))

        def __len__(self):
            return len(batches) * 6

        def plan(self, **_):
            return range(len(batches))

        def parts(self, chosen, device, number):
            return [batches[chosen]]

    log = Log()
    forward = Forward(model, precision="fp32", device="cpu", seed=0)
    once = options.model_copy(update={"epochs": 1})
    return log, train(model, classification, plain, Given(), options=once, folder=folder, forward=forward, emit=log)


OPTIONS = TrainOptions(epochs=4, batch_tokens=160, learning_rate=3e-3, max_length=32, early_stopping=3, precision="fp32")


@pytest.mark.parametrize("method", ["full", "frozen", "lora"])
def test_fit_learns_saves_and_reloads(base, tmp_path, method):
    rate = 0.05 if method == "frozen" else 0.02 if method == "lora" else 3e-3
    options = OPTIONS.model_copy(update={"learning_rate": rate, "epochs": 6})
    log = Log()
    before = {name: p.clone() for name, p in TEXT_CLASSIFICATION.build(base, LABELS, seed=0).named_parameters()}
    parts = split(200, "train"), split(60, "validation", 1)
    trained = fit(base, TEXT_CLASSIFICATION, LABELS, *parts, adapt=AdaptOptions(method=method), options=options, folder=tmp_path, emit=log)
    model, tokenizer, _ = load_checkpoint(trained.folder, base=base)
    assert trained.reload_difference <= 1e-6 and trained.steps == trained.facts["step"] > 0
    assert trained.best_metric == "quality.log_loss" and trained.best_value < 0.6
    assert {"precision", "precision_reason", "threads", "tokens", "total_seconds", "trained_parameters", "history"} <= set(trained.facts)
    encoded = encode(tokenizer, parts[1].texts, max_length=32)
    valid = TokenRows(encoded.ids, encoded.offsets, parts[1].labels, 0).take(np.arange(60), "cpu")
    with torch.inference_mode():
        loss = float(cross_entropy(model(**valid.inputs).logits, valid.labels))
    assert loss == pytest.approx(trained.best_value, abs=1e-4)  # the best checkpoint, not the last
    changed = {name for name, p in model.named_parameters() if name in before and not torch.equal(p, before[name])}
    assert any("classifier" in name for name in changed)
    assert any("encoder" in name for name in changed) == (method == "full")
    again = fit(base, TEXT_CLASSIFICATION, LABELS, *parts, adapt=AdaptOptions(method=method), options=options, folder=tmp_path)
    assert again.digest == trained.digest


def test_fit_refuses_what_cannot_be(base, tmp_path):
    parts = split(30, "train"), None
    with pytest.raises(RecipeError, match="gradient_checkpointing"):
        fit(
            base,
            TEXT_CLASSIFICATION,
            LABELS,
            *parts,
            adapt=AdaptOptions(method="frozen"),
            options=TrainOptions(gradient_checkpointing=True),
            folder=tmp_path,
        )
    one = OPTIONS.model_copy(update={"epochs": 1})
    last = fit(base, TEXT_CLASSIFICATION, LABELS, *parts, adapt=AdaptOptions(), options=one, folder=tmp_path)
    assert last.best_metric == "training_loss" and last.epochs == 1.0
    with pytest.raises(StaleRunError, match="train"):
        fit(base, TEXT_CLASSIFICATION, LABELS, split(30, "train", 9), None, adapt=AdaptOptions(), options=one, folder=tmp_path)


def test_gradient_checkpointing_changes_memory_and_no_loss(base, tmp_path):
    losses = []
    for wanted in (False, True):
        log = Log()
        options = OPTIONS.model_copy(update={"epochs": 1, "gradient_checkpointing": wanted, "dropout": 0.0})
        fit(
            base,
            TEXT_CLASSIFICATION,
            LABELS,
            split(60, "train"),
            None,
            adapt=AdaptOptions(),
            options=options,
            folder=tmp_path / str(wanted),
            emit=log,
        )
        losses.append([fields["loss"] for fields in log.of("step")])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
