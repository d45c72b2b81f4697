"""Trains the candidates within the budget and selects the best one on validation pictures."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from artifacts.progress import Progress
from training.data import Splits
from training.evaluate import fit_temperature
from training.history import Epoch
from training.inputs import Pictures
from training.loop import fit
from training.networks import Classifier, build
from training.pictures.candidates import TITLES, Task, candidate
from training.pictures.head import (
    MAX_CHIRALITY,
    Features,
    Head,
    compute_features,
    fit_head,
    loss_and_score,
    put_head,
    told_from_mirrored,
)
from training.pictures.plan import Clock, Part, Plan, Tried, better, fitting_epochs
from training.pictures.speed import best_device, forward_seconds, step_seconds
from training.recipe import Recipe
from training.run import console, initial_network, make_accelerator

EXPORT_SECONDS = 25.0
"""Time that exporting the network and writing the artifact takes on a small machine, seconds."""
STAGE_EPOCHS = 12
"""Number of epochs of the last stage where they cost little."""
STAGE_SHARE = 0.15
"""Maximum share of the time left that training the last stage may take beside all layers."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """The selected candidate."""

    recipe: Recipe
    network: Classifier
    """On the CPU, in evaluation mode."""
    history: Sequence[Epoch]
    features: Features
    """Features behind the frozen layers."""


class Selection:
    """Trains candidates on one division of pictures.

    Args:
        task: What the candidates have in common.
        splits: Training and validation pictures.
        plan: What was decided so far; it is changed and saved.
        clock: The budget.
        folder: Folder of the plan and of the checkpoints.
        tested: Number of test pictures, which are measured within the budget, too.
        say: Tells the user a sentence.
    """

    def __init__(
        self,
        task: Task,
        splits: Splits,
        plan: Plan,
        clock: Clock,
        folder: Path,
        tested: int,
        say: Say,
    ) -> None:
        self.task, self.splits, self.plan, self.clock = task, splits, plan, clock
        self.folder, self.tested, self.say = folder, tested, say
        self._forward = 0.0
        """Time to compute the features of one picture, seconds."""

    def run(self) -> Trained:
        """Train the candidates for which there is time and return the best one."""
        recipe = candidate(self.task, "head", 1)
        accelerator = make_accelerator(recipe)  # first, because it sets how memory is allocated
        network = initial_network(recipe, self.splits)
        network.to(accelerator.device).to(memory_format=torch.channels_last)
        features = self._features(network, recipe)
        self._decide_flip(features)
        head, history = self._train_head(features)
        network = self._with_head(network, head)
        best = Trained(self._recipe("head"), network, history, features)
        if not self.plan.scheduled:
            self._schedule(head, network)
            self.plan.scheduled = True
            self.clock.save(self.folder)
        chosen: Part = "head"
        for part in [part for part in self.plan.candidates if part != "head"]:
            trained = self._train(part, head, features)
            candidates = self.plan.candidates
            if better(candidates[part], candidates[chosen], len(self.splits.validation)):
                best, chosen = trained, part
        self.plan.chosen = chosen
        self.clock.save(self.folder)
        return best

    def _features(self, network: Classifier, recipe: Recipe) -> Features:
        train, validation = (
            Pictures(split, recipe, best_device(), once=True)
            for split in (self.splits.train, self.splits.validation)
        )
        began = time.monotonic()
        with Progress("computing features of the frozen layers", console=console) as progress:
            features = compute_features(network, train, validation, progress.update)
        views = 2 * len(train.labels) + len(validation.labels)
        self._forward = (time.monotonic() - began) / views
        return features

    def _decide_flip(self, features: Features) -> None:
        """Mirror pictures in training unless mirrored ones look unlike the others."""
        if self.plan.flip is None:
            share = told_from_mirrored(features, self.task.seed)
            self.plan.flip = share <= MAX_CHIRALITY
            self._explain(
                f"Pictures are told from their mirror images in {share:.0%} of all cases: training "
                + ("mirrors them at random." if self.plan.flip else "does not mirror them.")
            )
        self.task = replace(self.task, flip=self.plan.flip)

    def _train_head(self, features: Features) -> tuple[Head, list[Epoch]]:
        began = time.monotonic()
        head = fit_head(features, len(self.splits.classes), flip=self.task.flip)
        seconds = time.monotonic() - began
        self.plan.strength = head.strength
        logits = head.logits(features.validation)
        tried = self.plan.candidates.setdefault("head", Tried(1))
        self._record("head", tried, logits, seconds)
        row = Epoch(
            epoch=1,
            rate=0.0,
            train_loss=head.train_loss,
            train_accuracy=head.train_accuracy,
            validation_loss=head.validation_loss,
            validation_accuracy=head.validation_accuracy,
            train_seconds=seconds,
            validation_seconds=0.0,
        )
        return head, [row]

    def _schedule(self, head: Head, network: Classifier) -> None:
        """Decide which parts are trained after the head, and for how many epochs.

        Training all layers gets the time. The last stage is trained, too, if that costs little
        beside it, or if there is not enough time for all layers.
        """
        wrong = (1 - head.validation_accuracy) * len(self.splits.validation)
        if wrong < 1:
            how = "nearly perfectly" if self.task.multi_label else "rightly"
            self._explain(
                f"The head answers all validation pictures {how}, so that more training could not "
                "show that it pays."
            )
            return
        left = self.clock.left - self._tail()
        before, stage = self._stage_seconds(network)
        whole = self._whole_seconds(network)
        cheap = before + STAGE_EPOCHS * stage <= STAGE_SHARE * left
        if cheap:
            left -= before + STAGE_EPOCHS * stage
        count = fitting_epochs(left, whole)
        if cheap:
            self._plan("last-stage", STAGE_EPOCHS, stage)
        elif not count and (fitting := fitting_epochs(left - before, stage)):
            self._plan("last-stage", fitting, stage)
        if count:
            self._plan("all", count, whole)
        else:
            self._explain(
                f"An epoch of all layers takes about {whole:.1f} s, and the budget leaves "
                f"{max(left, 0):.0f} s: they are not trained."
            )

    def _plan(self, part: Part, epochs: int, seconds: float) -> None:
        self.plan.candidates[part] = Tried(epochs)
        self._explain(
            f"{TITLES[part].capitalize()}: {epochs} epochs of about {seconds:.1f} s fit into the "
            "budget."
        )

    def _whole_seconds(self, network: Classifier) -> float:
        """Measure the time of an epoch that trains all layers, in seconds."""
        recipe = candidate(self.task, "all", 1)
        model = build_part(network, recipe, len(self.splits.classes))
        step = step_seconds(model, self.splits.train, recipe)
        steps = math.ceil(len(self.splits.train) / recipe.batch_size)
        validated = self._forward * len(self.splits.validation)
        return steps * step + validated

    def _stage_seconds(self, network: Classifier) -> tuple[float, float]:
        """Measure the time to compute the frozen layers, and that of an epoch of the last stage."""
        recipe = candidate(self.task, "last-stage", 1)
        forward = forward_seconds(network, self.splits.train, recipe)
        stage = build_part(network, recipe, len(self.splits.classes))
        step = step_seconds(stage, self.splits.train, recipe)
        views = 2 if self.task.flip else 1
        steps = math.ceil(len(self.splits.train) / recipe.batch_size)
        # a step computes the frozen layers, too, which the cache spares
        return views * steps * forward, steps * max(step - forward, step / 10)

    def _train(self, part: Part, head: Head, features: Features) -> Trained:
        """Train a candidate, or continue it."""
        tried, recipe = self.plan.candidates[part], self._recipe(part)
        network = self._with_head(initial_network(recipe, self.splits), head)
        folder = self.folder / part
        folder.mkdir(parents=True, exist_ok=True)
        trained, history = fit(network, self.splits, recipe, folder, make_accelerator(recipe))
        seconds = sum(row.train_seconds + row.validation_seconds for row in history)
        self._record(part, tried, self._logits(trained, recipe), seconds)
        return Trained(recipe, trained, history, features)

    def _tail(self) -> float:
        """Estimate the time of exporting and measuring the selected network, seconds."""
        measured = len(self.splits.train) + 4 * len(self.splits.validation) + 2 * self.tested
        return EXPORT_SECONDS + self._forward * measured

    def _recipe(self, part: Part) -> Recipe:
        tried = self.plan.candidates.get(part, Tried(1))
        return candidate(self.task, part, tried.epochs)

    def _with_head(self, network: Classifier, head: Head) -> Classifier:
        put_head(network, head.weight, head.bias)
        return network.cpu().eval()

    @torch.inference_mode()
    def _logits(self, network: Classifier, recipe: Recipe) -> Tensor:
        """Return the logits of the validation pictures, M x C, prepared as in serving."""
        pictures = Pictures(self.splits.validation, recipe, torch.device("cpu"))
        network.to(memory_format=torch.channels_last)
        batches = torch.split(torch.arange(len(pictures.labels)), pictures.batch_size)
        return torch.cat([network(*pictures.plain(rows)).float() for rows in batches])

    def _record(self, part: Part, tried: Tried, logits: Tensor, seconds: float) -> None:
        labels = self.splits.validation.labels
        temperature = fit_temperature(logits.numpy(), labels.numpy(), smoothed=True)
        tried.loss, tried.accuracy = loss_and_score(logits.double() / temperature, labels)
        tried.seconds = seconds
        self.clock.save(self.folder)
        count = f"{len(labels):,} validation pictures"
        if self.task.multi_label:
            found = f"mean average precision {tried.accuracy:.1%} on the {count}"
        else:
            found = f"{tried.accuracy:.1%} of the {count} are right"
        self.say(
            f"Trained {TITLES[part]} in {tried.seconds:.0f} s: {found} (loss {tried.loss:.3f})."
        )

    def _explain(self, sentence: str) -> None:
        self.plan.reasons.append(sentence)
        self.say(sentence)


def build_part(network: Classifier, recipe: Recipe, classes: int) -> Classifier:
    """Return a copy of a network of which the part trains that a recipe names."""
    copied = build(recipe.network, classes)
    copied.load_state_dict(network.state_dict())
    return copied
