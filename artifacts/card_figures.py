"""The figures of a model card: tables of what was measured, by task."""

from artifacts.manifest import Manifest

RATES = ("fmr", "fnmr")
MIRRORED = " The embedding of a face is the mean of those of its crop and of the mirrored crop."


def figures_text(manifest: Manifest) -> list[str]:
    """Return the blocks of a card about what was measured; tables are one block each."""
    if not manifest.metrics:
        return [*_quantized(manifest), *_float16(manifest)] or ["None were measured here."]
    tables = {
        "classification": _class_tables,
        "multi-label": _label_tables,
        "embedding": _face_tables,
    }
    return [
        *tables[manifest.task](manifest),
        *_quantized(manifest),
        *_float16(manifest),
        *_providers(manifest),
    ]


def _class_tables(manifest: Manifest) -> list[str]:
    rows = []
    for metric in manifest.metrics:
        if metric.name == "accuracy":
            same = [m for m in manifest.metrics if (m.split, m.size) == (metric.split, metric.size)]
            values = {m.name: f"{m.value:.4f}" for m in same}
            reported = manifest.reported.get(f"accuracy/{metric.split}")
            comparable = not (reported is None or metric.size or manifest.synthetic)
            said = f"{reported:.4f}" if comparable else ""
            rows.append(
                f"| {metric.split} | {metric.samples:,} | {metric.size or 'own'} | "
                f"{values['accuracy']} | {values.get('loss', '')} | {values.get('ece', '')} | "
                f"{said} |"
            )
    head = [
        "| split | pictures | size | accuracy | loss (nats) | ECE | reported accuracy |",
        "|---|---|---|---|---|---|---|",
    ]
    about = (
        "Measured through `model.onnx`. Calibrated: logits are divided by the temperature "
        f"{manifest.temperature:.3f}, fitted on the validation pictures; ECE, the expected "
        "calibration error (15 bins), is what is left."
    )
    return [about, "\n".join([*head, *rows])]


def _label_tables(manifest: Manifest) -> list[str]:
    """Return the figures of a multi-label model: of each split, and of each class on the test."""
    about = (
        "Measured through `model.onnx`. mAP is the mean over the classes of the average precision, "
        "F1 the harmonic mean of precision and recall at the thresholds: its mean over the classes "
        "(macro), and that of all decisions together (micro). Classes that no picture of a split "
        "shows do not count in a mean. Calibrated: logits are divided by the temperature "
        f"{manifest.temperature:.3f}, fitted on the validation pictures; the loss and ECE, the "
        "expected calibration error (15 bins), are means over all pictures and classes."
    )
    splits = [
        "| split | pictures | size | mAP | F1 macro | F1 micro | loss (nats) | ECE |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for metric in manifest.metrics:
        if metric.name == "map":
            same = [m for m in manifest.metrics if (m.split, m.size) == (metric.split, metric.size)]
            values = {m.name: f"{m.value:.4f}" for m in same}
            cells = [values.get(n, "") for n in ("map", "f1-macro", "f1-micro", "loss", "ece")]
            splits.append(
                f"| {metric.split} | {metric.samples:,} | {metric.size or 'own'} | "
                f"{' | '.join(cells)} |"
            )
    thresholds = (
        "A class is present in a picture if its probability reaches its threshold. Each threshold "
        "is the one with the largest F1 on the validation pictures; these are figures of the test "
        "pictures. Precision is the share of the pictures in which the model found the class that "
        "show it, and recall the share of those that show it in which it was found."
    )
    return [about, "\n".join(splits), thresholds, "\n".join(_class_rows(manifest))]


def _class_rows(manifest: Manifest) -> list[str]:
    """Return the table of the classes; a share of no pictures is left out, as it is unknown."""
    tested = {m.name: m for m in manifest.metrics if (m.split, m.size) == ("test", None)}
    rows = [
        "| class | threshold | pictures that show it | recall | found in | precision |",
        "|---|---|---|---|---|---|",
    ]
    for name, threshold in zip(manifest.classes, manifest.thresholds, strict=True):
        cells = []
        for kind in ("recall", "precision"):
            metric = tested.get(f"{kind}/{name}")
            cells.append("0 | " if metric is None else f"{metric.samples:,} | {metric.value:.4f}")
        rows.append(f"| {name} | {threshold:.4f} | {' | '.join(cells)} |")
    return rows


def _face_tables(manifest: Manifest) -> list[str]:
    checked = manifest.verification
    if checked is None or checked.pairs is None:
        return ["It has no thresholds yet."]
    pairs = checked.pairs
    about = (
        f"Thresholds ({checked.metric} distance) were chosen on {pairs.dataset}: {pairs.people} "
        f"people, {pairs.same:,} pairs of one person, {pairs.different:,} of two."
        + MIRRORED
        * checked.mirrored
    )
    rates = [
        "| target FMR | distance | people | FMR (95 % by person) | FNMR (95 % by person) |",
        "|---|---|---|---|---|",
    ]
    splits = dict.fromkeys(metric.split for metric in manifest.metrics)
    for threshold in checked.thresholds:
        if pairs.dataset not in splits:  # several sources, each of which follows
            low, high = threshold.fmr_interval
            rates.append(
                f"| {threshold.target_fmr:g} | {threshold.distance:.4f} | {pairs.dataset} | "
                f"{threshold.fmr:.2g} ({low:.2g} to {high:.2g}) | {threshold.fnmr or 0:.2g} |"
            )
        for split in splits:
            cells = [_rate_cell(manifest, kind, threshold.target_fmr, split) for kind in RATES]
            rates.append(
                f"| {threshold.target_fmr:g} | {threshold.distance:.4f} | {split} | "
                f"{' | '.join(cells)} |"
            )
    whole = ["| people | pairs | EER | pictures | face found |", "|---|---|---|---|---|"]
    for split in splits:
        of_split = {m.name: m for m in manifest.metrics if m.split == split}
        cells = [
            f"{of_split[name].samples:,} | {of_split[name].value:.4f}"
            if name in of_split
            else " | "
            for name in ("eer", "found")
        ]
        whole.append(f"| {split} | {' | '.join(cells)} |")
    return [about, "\n".join(rates), "\n".join(whole)]


def _quantized(manifest: Manifest) -> list[str]:
    record = manifest.quantization
    if record is None:
        return []
    answers = "answer" if record.served else "do not answer"
    one, other = record.int8.mean_average_precision, record.fp32.mean_average_precision
    precision = "" if one is None or other is None else f", mAP {one:.4f} beside {other:.4f}"
    return [
        f"8-bit integers {answers}: accuracy {record.int8.accuracy:.4f} beside "
        f"{record.fp32.accuracy:.4f} in float32{precision}, on {record.test_samples:,} pictures of "
        f"{record.test}."
    ]


def _float16(manifest: Manifest) -> list[str]:
    record = manifest.float16
    if record is None:
        return []
    answers = "answers" if record.served else "does not answer"
    return [f"float16 {answers} on {record.agreement.provider}. {record.sentence}"]


def _providers(manifest: Manifest) -> list[str]:
    """Say where the figures were measured, if that could be elsewhere than on the CPU."""
    if not manifest.providers:
        return []
    used = next((record.provider for record in manifest.providers if record.measured), "the CPU")
    sentences = (record.sentence for record in manifest.providers)
    return [" ".join([f"These figures were measured on {used}.", *sentences])]


def _rate_cell(manifest: Manifest, kind: str, target: float, split: str) -> str:
    name = f"{kind}@{target:g}"
    value, low, high = (manifest.metric(name + end, split) for end in ("", "/low", "/high"))
    return "" if value is None else f"{value:.2g} ({low:.2g} to {high:.2g})"
