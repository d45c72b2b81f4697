"""Normalises drawings of one character, such as photographs of a digit on paper, as MNIST was made.

`ink` tells strokes from the ground they are on, `components` finds the connected parts of a mask,
and `normalising` finds the drawing and puts it where digits of MNIST are.
"""

from artifacts.drawings.normalising import SIDE, Drawing, NotFoundError, normalise

__all__ = ["SIDE", "Drawing", "NotFoundError", "normalise"]
