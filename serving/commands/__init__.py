"""The commands that ask a server, or an artifact opened in this process, about files."""

import os

# Before NumPy is imported: its threads spin while they wait for small products. They gain nothing
# here, take a core from other work, and wait for a core that other work has.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
