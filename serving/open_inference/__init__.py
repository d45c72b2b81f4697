"""The Open Inference Protocol, version 2: its tensors, and models as it describes them.

`requests` reads what clients send, `answers` says what models give, and `tensors` writes it.
There is no HTTP here; `serving.http.routes.open_inference` has the addresses.

The protocol is specified at https://github.com/kserve/open-inference-protocol, and the extensions
`binary_tensor_data` and `classification` in the documentation of the Triton Inference Server.
"""
