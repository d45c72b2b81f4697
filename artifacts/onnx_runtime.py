"""ONNX Runtime, as all sessions use it.

What a server imports before it forks its workers imports this module inside functions only: a fork
has none of the threads that a library has started.
"""

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

__all__ = ["ort", "ort_errors"]

ort_errors = (
    ort_state.Fail,
    ort_state.InvalidGraph,
    ort_state.InvalidArgument,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
)

# One arena for the feature maps of all sessions on the CPU, in place of one for each. It is
# registered here because that has to happen before the first session is opened in any thread.
ort.create_and_register_allocator(
    ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT),
    None,
)
