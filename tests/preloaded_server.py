"""What every server of `tests.server` has imported: libraries, and no code of the project.

ONNX Runtime is not among them, because the process that starts the workers never imports it, nor
is `prometheus_client`, which looks for the folder of its server when it is imported.
"""

# ruff: noqa: F401 - they are imported for others

import os

os.environ["OMP_NUM_THREADS"] = "1"  # a process with other threads could not be forked
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import _bentoml_impl.worker.service
import _bentoml_sdk.decorators
import bentoml._internal.utils.circus
import bentoml_cli.cli
import faiss
import fastapi.staticfiles
import onnx.reference
import PIL.Image
import pydantic_settings
import simplejpeg
import sqlalchemy.dialects.sqlite
import uvicorn.protocols.http.httptools_impl
