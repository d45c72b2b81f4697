"""Turns a trained network into an artifact: exports, calibrates, measures and writes it."""

from datetime import UTC, datetime
from functools import partial
from typing import Any

import torch

from artifacts import Artifact, ArtifactError, Manifest, Runtime
from artifacts.agreement import compare_providers, measuring_runtime
from artifacts.artifact import FLOAT16_FILE, MODEL_FILE
from artifacts.atlas import ATLAS_FILE, SHEET_FILE
from artifacts.manifest import DatasetRecord, Parameters, RecipeRecord, RunRecord
from artifacts.progress import Progress
from artifacts.proof import prove
from artifacts.provenance import code_version
from artifacts.reference import REFERENCE_FILE, measure_reference, write_reference
from training.blending import blend, open_parent
from training.data import Split, Splits, load_splits, load_test
from training.drift_reference import check_training_data, held_out_name, recipe_of
from training.evaluate import Resized, fit_temperature, run_logits, score
from training.export import Served, export
from training.faces.evaluate import measure_embedding
from training.finished import Finished
from training.half_precision import TOLERANCE, halve_if_accurate
from training.history import HISTORY_FILE, history_csv, history_plot
from training.inputs import with_scenery
from training.known import measure_known
from training.multi_label import choose_thresholds, score_labels
from training.networks import parameter_counts
from training.recipe import RECIPE_FILE, Recipe
from training.status import code_hash
from training.svm import kernels_csv, kernels_plot
from training.teacher import teacher_record

TRAIN_SAMPLES = 10_000
"""Maximum number of training pictures to measure, which is enough to detect over-fitting."""


def publish(finished: Finished, splits: Splits, report: Progress) -> Artifact:
    """Export a network and write its artifact atomically.

    What must be exact is computed on the CPU: the comparison of graph and network, and of weights
    in half precision with those in single precision. The answers on other execution providers are
    compared with those on the CPU. The temperature or the thresholds are chosen on validation
    pictures, and every metric is measured through the exported graph, on the provider that serves
    the model on this machine if its answers agree with those of the CPU.

    Args:
        finished: The network and how it was trained.
        splits: Training and validation pictures.
        report: Where to report which step is being done.

    Raises:
        ArtifactError: The model whose weights `parent_share` asks for is missing.
        ExportError: Graph and network differ.
        DataError: The test split is missing.
    """
    recipe, network = finished.recipe, finished.network
    history, kernels = finished.history, finished.kernels
    policy = recipe.policy
    torch.cuda.empty_cache()  # ONNX Runtime does not get what torch has cached
    report.update(None, "exporting the network")
    task = recipe.loss.task
    graph = export(Served(network, recipe.data.mean, recipe.data.std, task), policy)
    if recipe.parent_share:
        report.update(None, "averaging the weights")
        graph = blend(graph, open_parent(recipe), recipe.parent_share)
    report.update(None, "comparing the answers in half precision")
    graph = halve_if_accurate(graph, policy, splits.validation.originals, task)
    prove(graph, policy)
    report.update(None, "comparing execution providers")
    compared = compare_providers(graph, policy, splits.validation.originals, task, report.log)
    runtime, providers = measuring_runtime(graph, policy, compared)
    report.update(None, "measuring the graph")
    served = network.trunk if recipe.loss.embeds else network
    total, trainable = parameter_counts(served)
    manifest = Manifest.build(
        name=recipe.artifact_name,
        title=recipe.title,
        task=task,
        route=recipe.route,
        default=recipe.default,
        input=policy,
        **measure(recipe, splits, runtime),
        dataset=DatasetRecord(
            name=splits.source.name,
            fingerprint=splits.source.fingerprint,
            synthetic=splits.source.synthetic,
            train_samples=len(splits.train),
            validation_samples=len(splits.validation),
            divided=splits.source.divided,
        ),
        recipe=RecipeRecord(
            name=recipe.name,
            profile=recipe.profile,
            hash=recipe.hash,
            code=code_hash(recipe.network),
            study=recipe.study,
        ),
        teacher=teacher_record(recipe),
        parameters=Parameters(total=total, trainable=trainable),
        run=RunRecord(
            command=recipe.command
            or f"python -m training run {recipe.name} --profile {recipe.profile}",
            hardware=finished.hardware,
            seed=recipe.seed,
            precision=finished.precision,
            epochs=len(history),
            seconds=round(
                sum(e.train_seconds + e.validation_seconds for e in history)
                + sum(kernel.seconds for kernel in kernels),
                1,
            ),
        ),
        providers=providers,
        reported=recipe.reported,
        code_version=code_version(),
        created=datetime.now(UTC).replace(microsecond=0),
    )
    files = {MODEL_FILE: graph}
    if manifest.task == "classification" and len(manifest.classes) > 1:
        report.update(None, "measuring which pictures the model knows")
        added = measure_known(splits, runtime, manifest.temperature, recipe)
        manifest = manifest.model_copy(update=added.fields)
        files |= added.files
    files |= {
        REFERENCE_FILE: reference_of(manifest, splits, runtime),
        HISTORY_FILE: history_csv(history),
        RECIPE_FILE: recipe.as_text().encode(),
    }
    title, origin = _title(manifest), _origin(manifest)
    if history:
        files["history.png"] = history_plot(history, title, origin, recipe.loss.score_name)
    if kernels:
        files["kernels.csv"] = kernels_csv(kernels)
        files["kernels.png"] = kernels_plot(kernels, title, origin)
    return Artifact.save(manifest, files)


def halve_artifact(artifact: Artifact) -> Artifact:
    """Store an artifact's weights in half precision and measure its metrics again.

    What was made of the former graph is removed: the graph in float16, and the atlas. What was
    fitted on it to tell known pictures from others stays: features change by about 1e-4 of their
    length. Of cifar10-lite0, cifar10-gap, cifar10-fast, digits and mnist-relu-cross-entropy-sgd,
    scores (0..1) changed by at most 0.0015, and none of the verdicts on 500 test pictures and 300
    generated outliers each.

    Raises:
        ArtifactError: The artifact was not made by a recipe, is quantized to integers, is in half
            precision already, or its answers would change.
        DataError: The data is missing or is not what the artifact was trained on.
    """
    manifest, files = artifact.manifest, artifact.contents()
    recipe = recipe_of(manifest, "its figures cannot be measured again", artifact.path)
    if artifact.precision == "int8":
        raise ArtifactError(f"{artifact.name} is quantized to integers, which are smaller still.")
    splits = load_splits(recipe.data, recipe.seed)
    check_training_data(manifest, recipe, splits.source, len(splits.validation))
    graph = halve_if_accurate(
        files[MODEL_FILE], manifest.input, splits.validation.originals, manifest.task
    )
    if graph == files[MODEL_FILE]:
        raise ArtifactError(
            f"{artifact.name}: its weights are in half precision already, or its answers would "
            f"change by more than {TOLERANCE}; it is left unchanged."
        )
    compared = compare_providers(
        graph,
        manifest.input,
        splits.validation.originals,
        manifest.task,
        Progress(artifact.name).log,
    )
    runtime, providers = measuring_runtime(graph, manifest.input, compared)
    for of_former in (FLOAT16_FILE, ATLAS_FILE, SHEET_FILE):
        files.pop(of_former, None)
    measured = measure(recipe, splits, runtime) | {"providers": providers, "float16": None}
    changed = manifest.model_copy(update=measured)
    reference = reference_of(changed, splits, runtime)
    return artifact.rewrite(changed, {**files, MODEL_FILE: graph, REFERENCE_FILE: reference})


def measure(recipe: Recipe, splits: Splits, runtime: Runtime) -> dict[str, Any]:
    """Measure a graph; returns the manifest's metrics and its temperature and thresholds."""
    measure_task = measure_embedding if recipe.loss.embeds else _measure_classifier
    return measure_task(recipe, splits, runtime)


def reference_of(manifest: Manifest, splits: Splits, runtime: Runtime) -> bytes:
    """Measure the drift reference of a manifest's model; returns the content of its file."""
    held_out = splits.validation
    data = held_out_name(splits.source.name, len(held_out))
    reference = measure_reference(
        runtime, held_out.originals, manifest.temperature, data, manifest.task
    )
    return write_reference(reference)


def _measure_classifier(recipe: Recipe, splits: Splits, runtime: Runtime) -> dict[str, Any]:
    """Measure a model that gives classes; returns classes, temperature, thresholds and metrics.

    All splits are measured at their own size, the test split also at the sizes of the recipe. The
    temperature is fitted on validation pictures with scenery if training added some: the network is
    less sure of them, and of larger ones, than of crops, and would be underconfident otherwise.
    """
    held_out, labels = splits.validation, splits.validation.labels.numpy()
    logits = run_logits(runtime, held_out.originals)
    shown = with_scenery(held_out.originals, recipe.augment)
    temperature = fit_temperature(
        logits if shown is None else run_logits(runtime, shown),
        labels,
        smoothed=recipe.evaluation.smoothed_temperature,
    )
    thresholds: tuple[float, ...] = ()
    rate = partial(score, temperature=temperature)
    of_classes = rate
    if recipe.loss.task == "multi-label":
        thresholds = choose_thresholds(logits, labels, temperature)
        rate = partial(score_labels, temperature=temperature, thresholds=thresholds)
        of_classes = partial(rate, classes=splits.classes)
    metrics = rate(logits, labels, split="validation")
    train = _sample(splits.train, recipe.seed)
    metrics += rate(run_logits(runtime, train.originals), train.labels.numpy(), split="train")
    test = load_test(recipe.data.name, splits.classes, limit=recipe.data.limit)
    metrics += of_classes(run_logits(runtime, test.images), test.labels, split="test")
    for size in recipe.evaluation.sizes:
        logits = run_logits(runtime, Resized(test.images, size))
        metrics += rate(logits, test.labels, split="test", size=size)
    return {
        "classes": splits.classes,
        "temperature": round(temperature, 6),
        "thresholds": thresholds,
        "metrics": tuple(metrics),
    }


def _sample(split: Split, seed: int) -> Split:
    """Draw at most `TRAIN_SAMPLES` pictures with the seed."""
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))
    return split.take(order[:TRAIN_SAMPLES])


def _title(manifest: Manifest) -> str:
    data = manifest.dataset
    name = manifest.name + " (trained on generated pictures)" * manifest.synthetic
    if data is None:
        return name
    return (
        f"{name}: {data.name}, {data.train_samples:,} training and "
        f"{data.validation_samples:,} validation pictures"
    )


def _origin(manifest: Manifest) -> str:
    run = manifest.run
    return f"{run.command}   |   seed {run.seed}, {run.hardware}" if run else ""
