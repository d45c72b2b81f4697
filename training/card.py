"""Model cards, written from the manifest alone."""

from artifacts import Manifest

RATES = ("fmr", "fnmr")


def model_card(manifest: Manifest, title: str) -> str:
    """Markdown card: what it is, what it learned from, what was measured, where its limits lie."""
    lines = [f"# {manifest.name}", "", f"{title}.", ""]
    if manifest.synthetic:
        lines += ["**Trained on generated pictures: for trying things out, not for use.**", ""]
    lines += _origin(manifest)
    lines += [f"- Classes: {', '.join(manifest.classes)}.", f"- Input: {_input(manifest)}", ""]
    lines += [
        f"Measured through `model.onnx`, temperature {manifest.temperature:.3f} fitted on the "
        "validation pictures:",
        "",
        "| split | pictures | size | accuracy | loss (nats) | ECE | reported accuracy |",
        "|---|---|---|---|---|---|---|",
    ]
    for metric in manifest.metrics:
        if metric.name == "accuracy":
            same = [m for m in manifest.metrics if (m.split, m.size) == (metric.split, metric.size)]
            values = {m.name: m.value for m in same}
            reported = manifest.reported.get(f"accuracy/{metric.split}")
            comparable = not (reported is None or metric.size or manifest.synthetic)
            said = f"{reported:.4f}" if comparable else ""
            lines.append(
                f"| {metric.split} | {metric.samples:,} | {metric.size or 'own'} | "
                f"{values['accuracy']:.4f} | {values['loss']:.4f} | {values['ece']:.4f} | {said} |"
            )
    lines += [
        "",
        "Limits: it names one of its classes for any picture, also for pictures of other things; "
        "the probabilities are calibrated for pictures like those it was validated on.",
        "",
    ]
    return "\n".join(lines)


def _origin(manifest: Manifest) -> list[str]:
    """What it learned from, how it was made, and its size, as far as known."""
    data, run, weights = manifest.dataset, manifest.run, manifest.parameters
    lines = []
    if data:
        lines.append(
            f"- Data: {data.name}, {data.train_samples:,} pictures to train on and "
            f"{data.validation_samples:,} held out to validate."
        )
    if run:
        lines.append(
            f"- Made by `{run.command}`: seed {run.seed}, {run.epochs} epochs, precision "
            f"{run.precision}, {run.seconds:,.0f} s on {run.hardware}."
        )
    if weights:
        trained = f", of which {weights.trainable:,} were trained" if run else ""
        lines.append(f"- Weights: {weights.total:,}{trained}.")
    return lines


def _input(manifest: Manifest) -> str:
    policy = manifest.input
    low, high = policy.accepted_side
    if policy.fixed_size:
        return f"pictures of {low} to {high} px a side, squashed to {policy.fixed_size} px."
    if policy.native_side is None:
        return f"pictures of {low} to {high} px a side, shown as they are."
    least, greatest = policy.native_side
    return (
        f"pictures of {low} to {high} px a side, rescaled with their aspect ratio to the area of "
        f"a square of {least} to {greatest} px."
    )


def face_card(manifest: Manifest, title: str = "") -> str:
    """Markdown card of an embedding of faces: thresholds, what they do, where its limits lie."""
    lines = [f"# {manifest.name}", "", *([f"{title}.", ""] if title else [])]
    if manifest.synthetic:
        lines += ["**Trained on generated pictures: for trying things out, not for use.**", ""]
    lines += _origin(manifest)
    lines += [f"- Reported by its source: {k} {v}." for k, v in manifest.reported.items()]
    lines.append(f"- Input: {_input(manifest)}")
    checked = manifest.verification
    if checked and checked.pairs:
        pairs = checked.pairs
        lines += [
            f"- Thresholds ({checked.metric} distance) chosen on {pairs.dataset}: {pairs.people} "
            f"people, {pairs.same:,} pairs of one person, {pairs.different:,} of two.",
            "",
            "| target FMR | distance | people | FMR (95 % by person) | FNMR (95 % by person) |",
            "|---|---|---|---|---|",
        ]
        for threshold in checked.thresholds:
            for split in dict.fromkeys(m.split for m in manifest.metrics):
                cells = [_rate_cell(manifest, kind, threshold.target_fmr, split) for kind in RATES]
                lines.append(
                    f"| {threshold.target_fmr:g} | {threshold.distance:.4f} | {split} | "
                    f"{' | '.join(cells)} |"
                )
        lines += ["", "| people | pairs | EER | pictures | face found |", "|---|---|---|---|---|"]
        for eer, found in zip(
            (m for m in manifest.metrics if m.name == "eer"),
            (m for m in manifest.metrics if m.name == "found"),
            strict=True,
        ):
            lines.append(
                f"| {eer.split} | {eer.samples:,} | {eer.value:.4f} | {found.samples:,} | "
                f"{found.value:.4f} |"
            )
    lines += [
        "",
        "Limits: the rates hold for people and pictures like those they were measured on; other "
        "cameras, ages and peoples have others. It does not tell a face from a picture of one.",
        "",
    ]
    return "\n".join(lines)


def _rate_cell(manifest: Manifest, kind: str, target: float, split: str) -> str:
    name = f"{kind}@{target:g}"
    value, low, high = (manifest.metric(name + end, split) for end in ("", "/low", "/high"))
    return "" if value is None else f"{value:.2g} ({low:.2g} to {high:.2g})"
