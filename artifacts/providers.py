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
        return self.describe(self.provider, "the CPU", "validation pictures")

    def describe(self, one: str, other: str, pictures: str) -> str:
        """The comparison in words, with names for what was compared and on what."""
        if self.error:
            return f"{one} fails: {self.error}"
        if self.cosine is not None:
            figures = f"the least cosine of the two embeddings of a picture is {self.cosine:.6f}"
        else:
            figures = (
                f"probabilities differ by up to {self.difference:.4f}, and {self.same:.2%} of the "
                "decisions are the same"
            )
        verdict = "agrees with" if self.agrees else "differs from"
        return f"{one} {verdict} {other} on {self.pictures:,} {pictures}: {figures}."


class Float16Record(Strict):
    """The float16 graph compared with the float32 graph that it was made from, on a GPU."""

    served: bool
    """Whether `model.float16.onnx` exists and is served in place of `model.onnx`, on the provider
    that it was compared on."""
    data: str
    """Pictures that were compared, `NAME:SPLIT`."""
    hardware: str
    agreement: ProviderRecord
    """The answers in float16 on the GPU, compared with those in float32 on the CPU."""
    fp32_pictures_per_second: dict[int, float] = Field(default_factory=dict)
    """By batch size, on the GPU; empty if the answers do not agree."""
    float16_pictures_per_second: dict[int, float] = Field(default_factory=dict)
    """As `fp32_pictures_per_second`."""

    def served_on(self, provider: str) -> bool:
        """Whether the float16 graph is served on an execution provider."""
        return self.served and provider == self.agreement.provider

    @property
    def sentence(self) -> str:
        """The comparison in words."""
        provider = self.agreement.provider
        return self.agreement.describe(
            f"float16 on {provider}", "float32 on the CPU", f"pictures of {self.data}"
        )
