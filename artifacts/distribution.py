"""The installed distribution: its name, and how its extras are installed."""

from pathlib import Path

DISTRIBUTION = "vitrine-vision"
"""The name in pyproject.toml. `vitrine` on PyPI is another project."""
ROOT = Path(__file__).parent.parent
"""The checkout, or the folder of packages that a wheel was installed in."""


def is_checkout() -> bool:
    """Whether this code runs from a checkout of the project, not from an installed wheel."""
    return (ROOT / "pyproject.toml").is_file()


def install_command(*extras: str) -> str:
    """Return the shell command that installs these extras of pyproject.toml."""
    wanted = f"[{','.join(extras)}]"
    if is_checkout():
        return f"pip install -c constraints.txt -e '.{wanted}'"
    return f"pip install '{DISTRIBUTION}{wanted}'"
