"""How well near-duplicates are found: `python -m benchmarks.near_duplicates DATASET[:LIMIT] ...`.

Changed copies of some pictures of each data set are mixed with all its pictures. Recall is the
share of copies that end up in the group of their original. What is grouped without any copies is
either a true near-duplicate of the data set or a false alarm; `--show` writes these groups side by
side.
"""

import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageEnhance

from artifacts.datasets import load
from training.pictures.duplicates import Look, look_at, near_duplicates

COPIES = 300
"""Number of pictures of which copies are made."""


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Return a picture after it was saved as JPEG."""
    file = BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(BytesIO(file.getvalue())).convert("RGB")


def resized(image: Image.Image, factor: float) -> Image.Image:
    """Return a picture with both sides multiplied by a factor."""
    width, height = (max(4, round(side * factor)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def trimmed(image: Image.Image, share: float) -> Image.Image:
    """Return a picture without a share of its width and height, mostly from the right and below."""
    across, down = (int(side * share) for side in image.size)
    return image.crop(
        (
            across // 4,
            down // 4,
            image.width - across + across // 4,
            image.height - down + down // 4,
        )
    )


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG 50": lambda image: jpeg(image, 50),
    "JPEG 20": lambda image: jpeg(image, 20),
    "half size": lambda image: resized(image, 0.5),
    "brightness 0.7": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "brightness 1.3": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "trimmed 4 %": lambda image: trimmed(image, 0.04),
    "trimmed 8 %": lambda image: trimmed(image, 0.08),
    "all of 0.85, 60 %, JPEG 60": lambda image: jpeg(
        resized(ImageEnhance.Brightness(image).enhance(0.85), 0.6), 60
    ),
}


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--show", type=Path, help="Folder for pictures of the pairs without copies.")
def main(names: tuple[str, ...], show: Path | None) -> None:
    """Measure recall and what is grouped without copies."""
    for text in names:
        name, _, limit = text.partition(":")
        data = load(name, "train").head(int(limit) if limit else None)
        pictures = data.images
        started = time.perf_counter()
        looks = [look_at(pictures[i], i.to_bytes(8)) for i in range(len(data))]
        looked = time.perf_counter()
        groups = near_duplicates(looks)
        ended = time.perf_counter()
        members = sum(map(len, groups))
        mixed = sum(len(set(data.labels[list(group)].tolist())) > 1 for group in groups)
        print(
            f"{name}: {len(data):,} pictures, decoded and hashed in {looked - started:.1f} s, "
            f"compared in {ended - looked:.1f} s: {len(groups)} groups of {members} pictures "
            f"({members / len(data):.2%}), the largest of {max(map(len, groups), default=0)}; "
            f"{mixed} with several labels"
        )
        if show:
            for number, group in enumerate(groups):
                save(show / f"{name.replace('/', '-')}-{number}.png", [pictures[i] for i in group])
        measure_recall(looks, pictures)


def measure_recall(looks: list[Look], pictures: object) -> None:
    """Print the share of copies that are grouped with their originals, for each change."""
    chosen = np.linspace(0, len(looks) - 1, COPIES).round().astype(int).tolist()
    for label, change in CHANGES.items():
        copies = [
            look_at(
                np.asarray(change(Image.fromarray(pictures[i]))),  # type: ignore[index]
                (len(looks) + i).to_bytes(8),
            )
            for i in chosen
        ]
        group_of = {
            member: number
            for number, group in enumerate(near_duplicates([*looks, *copies]))
            for member in group
        }
        found = [
            group_of.get(i, -1) == group_of.get(len(looks) + place, -2)
            for place, i in enumerate(chosen)
        ]
        print(f"  {label}: {np.mean(found):.3f}")


def save(path: Path, pictures: list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]) -> None:
    """Write up to six pictures side by side."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet = Image.new("RGB", (128 * min(6, len(pictures)), 128))
    for place, pixels in enumerate(pictures[:6]):
        sheet.paste(Image.fromarray(pixels).resize((128, 128)), (128 * place, 0))
    sheet.save(path)


if __name__ == "__main__":
    main()
