"""Looks into served models: how sparse their layers are, which pictures they hold alike.

Every number comes through `serving.client`, from a running server or from the artifact opened in
process, so what is shown is what is served. One module per analysis: it measures, draws, and
holds its command. Never imports torch.
"""
