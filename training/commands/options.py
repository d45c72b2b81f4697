"""Options that several commands have."""

import click

from artifacts.provenance import has_gpu
from training.recipe import PROFILES, Profile


def default_profile() -> Profile:
    """Return `full` if there is a GPU, else `cpu`."""
    return "full" if has_gpu() else "cpu"


profile_option = click.option(
    "--profile",
    type=click.Choice(PROFILES),
    default=default_profile,
    show_default="full with a GPU, else cpu",
    help="full: the size of the study. cpu: sized for two cores. smoke: seconds, generated data.",
)


set_option = click.option(
    "--set",
    "changed",
    multiple=True,
    metavar="SETTING=VALUE",
    help="Change a setting of the recipe, such as seed=1 or augment.cutout=0.",
)
