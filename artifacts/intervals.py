"""The uncertainty of a share of pictures."""

import math

Z_95 = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""


def interval(count: float, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, 0..1 (Wilson 1927); (0, 1) of no picture."""
    if not total:
        return 0.0, 1.0
    share, spread = count / total, Z_95**2 / total
    centre = (share + spread / 2) / (1 + spread)
    half = Z_95 / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    return max(0.0, centre - half), min(1.0, centre + half)
