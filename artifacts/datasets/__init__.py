"""Data sets by name, read without torch, in the layouts of torchvision, under `VITRINE_DATA`."""

from artifacts.datasets.base import ImageSet, data_root
from artifacts.datasets.registry import NAMES, load, parse

__all__ = ["NAMES", "ImageSet", "data_root", "load", "parse"]
