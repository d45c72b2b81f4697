import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def test_the_bento_installs_what_serving_declares() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = [*project["dependencies"], *extras["serve"], *extras["postgresql"]]
    bento = yaml.safe_load((ROOT / "bentofile.yaml").read_text())
    packages = [line for line in bento["python"]["packages"] if not line.startswith("-")]
    assert {Requirement(line).name for line in packages} == {
        Requirement(line).name for line in declared
    }
