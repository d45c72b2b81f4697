"""What a manifest records about the execution providers of ONNX Runtime besides the CPU."""

from pydantic import Field

from artifacts.strict import Strict


class ProviderRecord(Strict):
    """How the answers on an execution provider compare with those on the CPU.

    They are measured when a model is published, on validation pictures; see `artifacts.agreement`.
    """

    provider: str
    """ONNX Runtime's name of it, such as CUDAExecutionProvider."""
    pictures: int
    difference: float | None = Field(default=None, exclude_if=lambda v: v is None)
    """Largest difference of a probability, before calibration; only of classifiers."""
    same: float | None = Field(default=None, exclude_if=lambda v: v is None)
    """Share of the pictures whose most probable class is the same; of a multi-label model, share of
    all decisions about pictures and classes, at a probability of 0.5. Only of classifiers."""
    cosine: float | None = Field(default=None, exclude_if=lambda v: v is None)
    """Least cosine of the two embeddings of a picture; only of embedding models."""
    agrees: bool
    """Whether the answers are within the tolerances."""
    error: str = Field(default="", exclude_if=lambda v: not v)
    """What the provider failed with, if there are no figures."""
    measured: bool = False
    """Whether the metrics were measured on this provider. If that holds for no record, they were
    measured on the CPU."""

    @property
    def sentence(self) -> str:
        """The comparison in words."""
        if self.error:
            return f"{self.provider} fails: {self.error}"
        if self.cosine is not None:
            figures = f"the least cosine of the two embeddings of a picture is {self.cosine:.6f}"
        else:
            figures = (
                f"probabilities differ by up to {self.difference:.4f}, and {self.same:.2%} of the "
                "decisions are the same"
            )
        verdict = "agrees with" if self.agrees else "differs from"
        on = f"on {self.pictures:,} validation pictures"
        return f"{self.provider} {verdict} the CPU {on}: {figures}."
