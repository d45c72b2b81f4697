"""Analyses of served models, such as the sparsity of layers and the similarity of pictures.

Every number comes through `serving.client`, from a running server or from an artifact opened in
this process, so that the analyses show what is served. Each analysis is a module that measures,
draws, and defines its command. This package never imports torch.
"""

import os

# The threads of t-SNE synchronise thousands of times. If they spin while they wait, t-SNE is twenty
# times slower beside another busy process. OpenMP reads the variable once, when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
