"""Pruning along a recipe in the loops of transformers, accelerate and Lightning: the widths and the
losses of our own Trainer.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import purethin as pt
from purethin.loops.along import narrow_along
from purethin.loops.ranked import keep_inputs, started

EPOCHS = 5


class Net(nn.Module):
    """A small classifier that gives what transformers' Trainer expects."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.up, self.mid, self.head = nn.Linear(6, 16), nn.Linear(16, 12), nn.Linear(12, 3)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Any:
        out = self.head(self.mid(self.up(x).relu()).relu())
        return out if labels is None else {"loss": cross_entropy(out, labels), "logits": out}


torch.manual_seed(1)
ROWS = [{"x": torch.randn(6), "labels": torch.tensor(i % 3)} for i in range(32)]
BATCHES = [
    tuple(torch.stack([row[key] for row in ROWS[i : i + 8]]) for key in ("x", "labels"))
    for i in range(0, 32, 8)
]
SPEC = pt.infer(Net(), pt.params_of(Net()), BATCHES[0][0])
RECIPE = pt.load_recipe(pt.recipe_for(SPEC, sparsity=0.5, begin=1, end=4, frequency=1))


def optimizer_of(params: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(params, lr=0.01)


UPDATE = pt.Update(lambda outputs, batch: cross_entropy(outputs, batch[1]))


def loudest(model: nn.Module, spec: pt.Spec, batches: Any) -> dict[str, Tensor]:
    """A criterion of one's own: how large the first layer's activations are; all else alike."""
    x = torch.cat([batch["x"] if isinstance(batch, dict) else batch[0] for batch in batches])
    found = {name: torch.ones(size) for name, size in spec.sizes.items()}
    return found | {"up": model.up(x).relu().sum(0)}  # type: ignore[operator]


BY_DATA = {
    f.__name__: pt.schedule(SPEC, 0.5, criterion=f, begin=1, end=4)
    for f in (pt.taylor, pt.wanda, pt.output_taylor, loudest)
}


def ours(recipe: pt.Recipe = RECIPE) -> pt.Trainer:
    """Our own Trainer on the same."""
    trainer = pt.Trainer(Net(), SPEC, recipe, optimizer_of, UPDATE, thin="now", callbacks=[])
    trainer.fit(BATCHES, EPOCHS)
    return trainer


def same(model: nn.Module, losses: list[float], recipe: pt.Recipe = RECIPE) -> None:
    """That a network and its mean losses by epoch are those of our Trainer."""
    want = ours(recipe)
    assert losses == pytest.approx([record.loss for record in want.history], abs=1e-6)
    params = pt.params_of(model)
    assert {n: p.shape for n, p in params.items()} == {n: p.shape for n, p in want.params.items()}
    assert params["up.weight"].shape == (8, 6)
    for name, tensor in params.items():
        torch.testing.assert_close(tensor, want.params[name].detach(), rtol=0, atol=1e-6)


def means(losses: list[float]) -> list[float]:
    return [sum(losses[i : i + 4]) / 4 for i in range(0, 4 * EPOCHS, 4)]


def plain_loop(recipe: pt.Recipe, **ranked: Any) -> tuple[nn.Module, list[float]]:
    """A network narrowed along a recipe in a loop written by hand, and its mean losses by epoch."""
    model = Net()
    optimizer = optimizer_of(model.parameters())
    state, losses = pt.begin(SPEC, recipe, thin="now"), []
    for epoch in range(EPOCHS):
        state, _ = narrow_along(state, model, optimizer, epoch=epoch, **ranked)
        for x, y in BATCHES:
            loss = cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
    return model, means(losses)


def test_a_plain_loop_that_narrows_has_the_losses_of_our_trainer() -> None:
    same(*plain_loop(RECIPE))


@pytest.mark.parametrize("criterion", BY_DATA)
def test_a_plain_loop_that_ranks_by_its_batches_has_the_losses_of_our_trainer(
    criterion: str,
) -> None:
    recipe = BY_DATA[criterion]
    same(*plain_loop(recipe, batches=BATCHES, update=UPDATE), recipe)


def test_a_measure_of_activations_is_taken_on_the_batches() -> None:
    recipe = pt.load_recipe(
        """
        version: 1
        pruners: {p: {class: ActivationAPoZRankedStructureParameterPruner, desired_sparsity: 0.5,
          group_type: Rows, weights: [up.weight]}}
        policies: [{pruner: {instance_name: p}, epochs: [1]}]
        """
    )
    model, trainer = Net(), ours(recipe)
    state = pt.begin(SPEC, recipe, thin="now")
    optimizer = optimizer_of(model.parameters())
    for epoch in range(EPOCHS):
        state, _ = narrow_along(state, model, optimizer, epoch=epoch, batches=BATCHES)
        for x, y in BATCHES:
            cross_entropy(model(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert torch.equal(state.masks["up"], trainer.masks["up"])
    assert model.up.out_features == 8


def test_what_data_cannot_be_ranked_by_is_an_error_that_says_what_to_give() -> None:
    state = pt.begin(SPEC, pt.schedule(SPEC, 0.5, criterion=pt.taylor, begin=0), thin="now")
    with pytest.raises(pt.RecipeError, match="trained on no batch yet: let the recipe begin"):
        narrow_along(state, Net(), epoch=0, batches=[])
    with pytest.raises(pt.PurethinError, match=r"no 'loss': give update=pt.Update\(loss_fn\)"):
        narrow_along(state, Net(), epoch=0, batches=BATCHES)


@pytest.mark.parametrize(
    ("option", "said"), [("criterion", r"pt\.schedule\(spec"), ("batch", "did you mean 'batches'")]
)
def test_an_option_that_is_none_is_an_error_that_says_what_to_write(option: str, said: str) -> None:
    with pytest.raises(pt.OptionError, match=said):
        started(SPEC, RECIPE, {option: pt.taylor})


def test_batches_are_kept_only_where_a_recipe_ranks_by_them() -> None:
    for recipe, kept in ((RECIPE, 0), (BY_DATA["taylor"], 8)):
        _, ranked, last = started(SPEC, recipe, {})
        free = keep_inputs(model := Net(), last)
        for i in range(9):
            model.train(i != 8)(x=torch.full((1, 6), float(i)))
        assert [int(batch["x"][0, 0]) for batch in last] == [*range(8)][:kept]
        assert ranked.get("batches") is last
        free()
        model.train()(x=torch.ones(1, 6))
        assert len(last) == kept


REFUSED = {
    "single weights": (
        "pruners: {p: {class: AutomatedGradualPruner, initial_sparsity: 0.1, final_sparsity: 0.5, "
        "weights: [mid.weight]}}\n"
        "policies: [{pruner: {instance_name: p}, starting_epoch: 0, ending_epoch: 2, "
        "frequency: 1}]",
        "'p' zeroes single weights",
    ),
    "learning rates": (
        "lr_schedulers: {r: {class: StepLR, step_size: 1}}\n"
        "policies: [{lr_scheduler: {instance_name: r}, starting_epoch: 0, ending_epoch: 2, "
        "frequency: 1}]",
        "'r' moves the learning rate",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_loop_of_others_cannot_do_is_refused_with_what_to_do(case: str) -> None:
    text, message = REFUSED[case]
    state = pt.begin(SPEC, pt.load_recipe("version: 1\n" + text), thin="now")
    with pytest.raises(pt.RecipeError, match=message):
        narrow_along(state, Net(), epoch=0)


def test_masks_that_would_stay_in_the_tensors_are_refused() -> None:
    with pytest.raises(pt.RecipeError, match='thin="now"'):
        narrow_along(pt.begin(SPEC, RECIPE), Net(), epoch=0)


def test_a_criterion_that_looks_at_data_is_given_its_scores() -> None:
    recipe = pt.schedule(SPEC, 0.5, criterion="taylor", begin=0, end=1)
    state, model = pt.begin(SPEC, recipe, thin="now"), Net()
    with pytest.raises(pt.PurethinError, match="scores"):
        narrow_along(state, model, epoch=0)
    (pruner,) = state.pruning.scored_at(0)
    scores = {pruner.name: pt.lp_norm(pt.params_of(model), SPEC)}
    state, changed = narrow_along(state, model, epoch=0, scores=scores)
    assert changed
    assert (model.up.out_features, model.mid.out_features) == (8, 6)


@pytest.mark.survey
def test_accelerate_trains_what_was_prepared(tmp_path: Path) -> None:
    accelerator = pytest.importorskip("accelerate").Accelerator(cpu=True)
    model = Net()
    optimizer = optimizer_of(model.parameters())
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    model, optimizer, scheduler = accelerator.prepare(model, optimizer, scheduler)
    state, losses = pt.begin(SPEC, RECIPE, thin="now"), []
    for epoch in range(EPOCHS):
        state, _ = narrow_along(state, accelerator.unwrap_model(model), optimizer, epoch=epoch)
        for x, y in BATCHES:
            loss = cross_entropy(model(x), y)
            accelerator.backward(loss)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
    same(accelerator.unwrap_model(model), means(losses))


def hugging(folder: Path, model: nn.Module, callback: Any, **options: Any) -> Any:
    """transformers' Trainer, on the batches in their order."""
    transformers = importlib.import_module("transformers")

    class InOrder(transformers.Trainer):
        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(ROWS)

    args = transformers.TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=8,
        logging_steps=1,
        max_grad_norm=0.0,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        **{"save_strategy": "no", **options},
    )
    optimizer = optimizer_of(model.parameters())
    rates = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    return InOrder(
        model, args, train_dataset=ROWS, optimizers=(optimizer, rates), callbacks=[callback]
    )


@pytest.mark.survey
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("every", [None, 4])
def test_transformers_trainer_has_the_losses_of_ours(tmp_path: Path, every: int | None) -> None:
    pytest.importorskip("accelerate")
    prune = importlib.import_module("purethin.loops.transformers").Prune(SPEC, RECIPE, every=every)
    trainer = hugging(tmp_path, Net(), prune)
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    same(trainer.model, means(losses))
    assert [step for step, _ in prune.changes] == [8, 12]


@pytest.mark.survey
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("criterion", BY_DATA)
def test_transformers_trainer_ranks_by_its_last_batches(tmp_path: Path, criterion: str) -> None:
    pytest.importorskip("accelerate")
    recipe = BY_DATA[criterion]
    prune = importlib.import_module("purethin.loops.transformers").Prune(SPEC, recipe)
    trainer = hugging(tmp_path, Net(), prune)
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    same(trainer.model, means(losses), recipe)
    assert not trainer.model._forward_pre_hooks


@pytest.mark.survey
@pytest.mark.filterwarnings("ignore")
def test_transformers_trainer_resumes_from_a_checkpoint_of_a_thinned_model(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    Prune = importlib.import_module("purethin.loops.transformers").Prune
    trainer = hugging(tmp_path, Net(), Prune(SPEC, RECIPE), save_strategy="epoch")
    trainer.train()
    again, prune = Net(), Prune(SPEC, RECIPE)
    prune.resume(again, checkpoint := tmp_path / "checkpoint-12")
    trainer = hugging(tmp_path, again, prune)
    trainer.train(resume_from_checkpoint=str(checkpoint))
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    same(trainer.model, means(losses))


def lightning_run(
    folder: Path, callbacks: list[Any], checkpoint: Path | None = None
) -> tuple[Any, list[float]]:
    """A LightningModule trained, and its losses step by step."""
    lightning = importlib.import_module("lightning.pytorch")
    losses: list[float] = []

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()

        def training_step(self, batch: Any, _: int) -> Tensor:
            loss = cross_entropy(self.net(batch[0]), batch[1])
            losses.append(float(loss.detach()))
            return loss

        def configure_optimizers(self) -> Any:
            return optimizer_of(self.parameters())

    module = Module()
    if checkpoint is not None:
        callbacks[0].resume(module, checkpoint)
    trainer = lightning.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=callbacks,
        enable_checkpointing=any("Checkpoint" in type(c).__name__ for c in callbacks),
    )
    loader = torch.utils.data.DataLoader(BATCHES, batch_size=None)  # type: ignore[arg-type]
    trainer.fit(module, loader, ckpt_path=checkpoint)
    return module, losses


@pytest.mark.survey
@pytest.mark.filterwarnings("ignore")
def test_lightning_has_the_losses_of_our_trainer_and_resumes(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")
    Prune = importlib.import_module("purethin.loops.lightning").Prune
    saving = lightning.callbacks.ModelCheckpoint(tmp_path, save_top_k=-1, filename="{epoch}")
    module, losses = lightning_run(tmp_path, [Prune(SPEC, RECIPE, of="net"), saving])
    same(module.net, means(losses))
    prune = Prune(SPEC, RECIPE, of="net")
    again, rest = lightning_run(tmp_path, [prune], tmp_path / "epoch=2.ckpt")
    same(again.net, means(losses[:12] + rest))


@pytest.mark.survey
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("criterion", BY_DATA)
def test_lightning_ranks_by_its_last_batches(tmp_path: Path, criterion: str) -> None:
    pytest.importorskip("lightning.pytorch")
    Prune, recipe = importlib.import_module("purethin.loops.lightning").Prune, BY_DATA[criterion]
    module, losses = lightning_run(tmp_path, [Prune(SPEC, recipe, of="net", update=UPDATE)])
    same(module.net, means(losses), recipe)


@pytest.mark.survey
@pytest.mark.filterwarnings("ignore")
def test_lightnings_average_is_thinned_with_its_network(tmp_path: Path) -> None:
    callbacks = pytest.importorskip("lightning.pytorch.callbacks")
    Prune = importlib.import_module("purethin.loops.lightning").Prune
    average = callbacks.EMAWeightAveraging(decay=0.5)
    module, _ = lightning_run(tmp_path, [average, Prune(SPEC, RECIPE, of="net")])
    assert module.net.up.out_features == 8
    assert average._average_model.module.net.up.weight.shape == (8, 6)
