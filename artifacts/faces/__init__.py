"""Finds faces in photographs and aligns them: from a picture to what an embedding sees.

The server and the calibration of thresholds both go through here, so they cannot disagree.
"""

from artifacts.faces.alignment import align
from artifacts.faces.detector import Detector, Found

__all__ = ["Detector", "Found", "align"]
