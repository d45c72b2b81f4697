"""What every process of `tests.programs` has imported: libraries, and no code of the project."""

# ruff: noqa: F401 - they are imported for others

import os

os.environ["OMP_NUM_THREADS"] = "1"  # a process with other threads could not be forked

import warnings
from io import BytesIO

import accelerate
import matplotlib.figure
import onnxruntime
import pytorch_metric_learning.miners
import sklearn.svm
import timm
import torch
import torchmetrics.classification

with warnings.catch_warnings():
    # the exporter gets ready when it is first used, and warns about its own internals
    warnings.simplefilter("ignore")
    example = torch.zeros(1, 3, 8, 8)
    torch.onnx.export(
        torch.nn.Conv2d(3, 2, 3).eval(), (example,), BytesIO(), dynamo=True, verbose=False
    )
