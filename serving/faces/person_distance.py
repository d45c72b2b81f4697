"""How far a face is from an enrolled person, of whom there are several pictures.

The nearest picture alone is a poor measure: the more pictures there are of a person, the likelier
it is that one of them is near to a stranger by chance, while what the pictures have in common is
not used. The distance here is the mean of two: of the distance to the centroid of the pictures, and
of the mean of their distances. The first alone is too small, because a centroid has less noise
than a picture, and the second is too large; with their mean, thresholds that were set on pairs of
pictures nearly keep their false-match rate. A person may look very different on some pictures, or a
picture of somebody else may have been enrolled. So only those pictures count that match the nearest
one. `python -m benchmarks.face_enrolment` compares this with other rules.
"""

import numpy as np
import numpy.typing as npt

from serving.faces.index import Metric, distances, is_comparable, prepared

Vectors = npt.NDArray[np.float32]


def person_distance(query: Vectors, pictures: Vectors, metric: Metric, alike: float) -> float:
    """Return the distance of a face from a person.

    Args:
        query: embedding of the face, D.
        pictures: embeddings of the person's pictures, K x D with K of at least 1.
        metric: metric of the model.
        alike: distance up to which pictures match the nearest one and are used with it; with 0,
            the result is the distance of the nearest picture.
    """
    away = distances(query, pictures, metric)
    nearest = pictures[away.argmin()]
    used = distances(nearest, pictures, metric) <= alike
    if used.sum() < 2:  # noqa: PLR2004
        return float(away.min())
    centroid = prepared(pictures[used], metric).mean(0)
    mean = float(away[used].mean())
    if not is_comparable(centroid, metric):
        return mean
    return (float(distances(query, centroid[None], metric)[0]) + mean) / 2
