"""Turns a trained network into an artifact: export, calibrate, measure, write."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import torch

from artifacts import Artifact, ArtifactError, Manifest, Runtime
from artifacts.artifact import MODEL_FILE
from artifacts.manifest import DatasetRecord, Parameters, RecipeRecord, RunRecord, Task
from artifacts.provenance import code_version, hardware
from artifacts.reference import REFERENCE_FILE, measure_reference, write_reference
from training.data import Split, Splits, load_or_download, load_splits
from training.drift_reference import check_same, held_out_name, recipe_of
from training.evaluate import Resized, fit_temperature, run_logits, score
from training.export import Served, export
from training.faces.evaluate import measured_embedding
from training.half_precision import TOLERANCE, lean
from training.history import HISTORY_FILE, Epoch, history_csv, history_plot
from training.networks import Classifier, code_hash, parameter_counts
from training.recipe import Recipe
from training.svm import Tried, kernels_csv, kernels_plot

TRAIN_SAMPLES = 10_000
"""Training pictures that are measured: enough to see over-fitting by."""


def publish(
    recipe: Recipe,
    network: Classifier,
    splits: Splits,
    history: Sequence[Epoch],
    tried: Sequence[Tried] = (),
) -> Artifact:
    """Export a network and write its artifact, whole or not at all.

    Temperature or thresholds are chosen on validation pictures; every metric is measured through
    the exported graph. A support-vector machine has no history but kernels that were tried.

    Raises:
        ExportError: graph and network differ.
        DataError: no test split.
    """
    policy = recipe.policy
    task: Task = "embedding" if recipe.loss.embeds else "classification"
    graph = export(Served(network, recipe.data.mean, recipe.data.std, task), policy)
    graph = lean(graph, policy, splits.validation.originals)
    runtime = Runtime(graph, policy)
    served = network.trunk if recipe.loss.embeds else network
    total, trainable = parameter_counts(served)
    manifest = Manifest.build(
        name=recipe.artifact_name,
        title=recipe.title,
        task=task,
        route=recipe.route,
        default=recipe.default,
        input=policy,
        **measured(recipe, splits, runtime),
        dataset=DatasetRecord(
            name=splits.source.name,
            fingerprint=splits.source.fingerprint,
            synthetic=splits.source.synthetic,
            train_samples=len(splits.train),
            validation_samples=len(splits.validation),
        ),
        recipe=RecipeRecord(
            name=recipe.name,
            profile=recipe.profile,
            hash=recipe.hash,
            code=code_hash(recipe.network),
            study=recipe.study,
        ),
        parameters=Parameters(total=total, trainable=trainable),
        run=RunRecord(
            command=recipe.command
            or f"python -m training run {recipe.name} --profile {recipe.profile}",
            hardware=hardware(),
            seed=recipe.seed,
            precision=recipe.precision,
            epochs=len(history),
            seconds=round(
                sum(e.train_seconds + e.validation_seconds for e in history)
                + sum(kernel.seconds for kernel in tried),
                1,
            ),
        ),
        reported=recipe.reported,
        code_version=code_version(),
        created=datetime.now(UTC).replace(microsecond=0),
    )
    files = {
        MODEL_FILE: graph,
        REFERENCE_FILE: _reference(manifest, splits, runtime),
        HISTORY_FILE: history_csv(history),
    }
    if history:
        files["history.png"] = history_plot(history, _title(manifest))
    if tried:
        files["kernels.csv"] = kernels_csv(tried)
        files["kernels.png"] = kernels_plot(tried, _title(manifest))
    return Artifact.save(manifest, files)


def halve_artifact(artifact: Artifact) -> Artifact:
    """Store an artifact's weights in half precision, and measure anew what stands in its manifest.

    Raises:
        ArtifactError: no recipe made it, it is served in integers, or its weights are stored so
            already or would not give the same answers.
        DataError: the data is missing, or not what it was trained on.
    """
    manifest, files = artifact.manifest, artifact.contents()
    recipe = recipe_of(manifest, "its figures cannot be measured anew")
    if artifact.model_file != MODEL_FILE:
        raise ArtifactError(f"{artifact.name} is served in integers, which are smaller yet.")
    splits = load_splits(recipe.data, recipe.seed)
    check_same(manifest, recipe, splits.source, len(splits.validation))
    graph = lean(files[MODEL_FILE], manifest.input, splits.validation.originals)
    if graph == files[MODEL_FILE]:
        raise ArtifactError(
            f"{artifact.name}: its weights are in half precision already, or its answers would "
            f"change by more than {TOLERANCE}; it stays as it is."
        )
    runtime = Runtime(graph, manifest.input)
    changed = manifest.model_copy(update=measured(recipe, splits, runtime))
    reference = _reference(changed, splits, runtime)
    return artifact.rewrite(changed, {**files, MODEL_FILE: graph, REFERENCE_FILE: reference})


def measured(recipe: Recipe, splits: Splits, runtime: Runtime) -> dict[str, Any]:
    """Fields of the manifest that say what the graph does: metrics, temperature or thresholds."""
    measure = measured_embedding if recipe.loss.embeds else _measured_classifier
    return measure(recipe, splits, runtime)


def _reference(manifest: Manifest, splits: Splits, runtime: Runtime) -> bytes:
    held_out = splits.validation
    data = held_out_name(splits.source.name, len(held_out))
    reference = measure_reference(runtime, held_out.originals, manifest.temperature, data)
    return write_reference(reference)


def _measured_classifier(recipe: Recipe, splits: Splits, runtime: Runtime) -> dict[str, Any]:
    """Fields of the manifest: classes, temperature and metrics.

    Training and test split at their own size, then the test split at the recipe's sizes.
    """
    held_out = splits.validation
    logits = run_logits(runtime, held_out.originals)
    temperature = fit_temperature(logits, held_out.labels.numpy())
    metrics = score(logits, held_out.labels.numpy(), temperature, "validation")
    train = _sample(splits.train, recipe.seed)
    train_logits = run_logits(runtime, train.originals)
    metrics += score(train_logits, train.labels.numpy(), temperature, "train")
    test = load_or_download(recipe.data.name, "test")
    metrics += score(run_logits(runtime, test.images), test.labels, temperature, "test")
    for size in recipe.evaluation.sizes:
        logits = run_logits(runtime, Resized(test.images, size))
        metrics += score(logits, test.labels, temperature, "test", size)
    return {
        "classes": splits.classes,
        "temperature": round(temperature, 6),
        "metrics": tuple(metrics),
    }


def _sample(split: Split, seed: int) -> Split:
    """At most `TRAIN_SAMPLES` pictures, drawn by the seed."""
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))
    return split.take(order[:TRAIN_SAMPLES])


def _title(manifest: Manifest) -> str:
    mark = " · trained on generated pictures" if manifest.synthetic else ""
    return manifest.name + mark
