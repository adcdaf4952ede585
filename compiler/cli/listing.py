"""What `cos tree pkglist` lists, and how lists are printed as YAML."""

from collections.abc import Sequence
from dataclasses import dataclass

import yaml
from yaml.nodes import ScalarNode

from compiler.cli.output import dump
from compiler.spec.package import PackageId, PackageSpec
from compiler.spec.scalars import resolve


@dataclass(frozen=True, slots=True)
class Listed:
    """A line of the list; one that is required but not there has no spec."""

    id: PackageId
    spec: PackageSpec | None

    def row(self) -> dict[str, str]:
        """Give the fields that luet prints for programs."""
        return {
            "category": self.id.category,
            "image": "",
            "name": self.id.name,
            "path": str(self.spec.folder) if self.spec else "",
            "version": self.id.version,
        }


def shown(value: object, form: str) -> str:
    """Lay a value out as JSON, or as YAML as Go writes it; raises `UsageError` for another form."""
    return yaml_listing(value).rstrip() if form in {"yaml", "terminal"} else dump(value, form)


class _Dumper(yaml.CSafeDumper):
    """Writes text that could be taken for something else in double quotes, as Go does."""


def _represent_text(dumper: yaml.CSafeDumper, text: str) -> ScalarNode:
    style = "|" if "\n" in text else None
    if not isinstance(resolve(text), str):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def yaml_listing(found: Sequence[Listed] | object) -> str:
    """Print a list of packages, or any plain values, as YAML."""
    if isinstance(found, list) and all(isinstance(each, Listed) for each in found):
        found = {"packages": [each.row() for each in found]}
    return yaml.dump(found, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6)
