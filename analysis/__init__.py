"""Looks into served models: how sparse their layers are, which pictures they hold alike.

Every number comes through `serving.client`, from a running server or from the artifact opened in
process, so what is shown is what is served. One module per analysis: it measures, draws, and
holds its command. Never imports torch.
"""

import os

# t-SNE's threads meet thousands of times; spinning while they wait makes it twenty times slower
# beside any other busy process. Read once, when the library is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
