"""Trees to measure with: the same files each time for the same numbers."""

import random
from collections.abc import Sequence
from pathlib import Path

import yaml

from compiler.spec.package import PackageId
from compiler.spec.template import Source, Templates

BASE_IMAGE = "debian:trixie"
"""What the packages stand on that are built."""

PAYLOAD_COPIES = 5
"""How often the payload holds the `/usr` of the base: about 600 MB."""


def write_package(tree: Path, package: PackageId, build: Sequence[str]) -> None:
    """Write one package; `build` are the lines of its `build.yaml`."""
    folder = tree / package.category / package.name
    folder.mkdir(parents=True, exist_ok=True)
    definition = (
        f'name: {package.name}\ncategory: {package.category}\nversion: "{package.version}"\n'
    )
    (folder / "definition.yaml").write_text(definition, encoding="utf-8")
    (folder / "build.yaml").write_text("\n".join(build) + "\n", encoding="utf-8")


def requirement(package: PackageId) -> str:
    """Write `package` as an entry of `requires`."""
    return f'- {{category: {package.category}, name: {package.name}, version: ">=0"}}'


HELPERS = """\
{{- define "fetch" }}
- mkdir -p /src && cd /src && curl -fsSLO {{ .mirror }}/{{ .name }}-{{ .version }}.tar.gz
- cd /src && tar xf {{ .name }}-{{ .version }}.tar.gz
{{- end }}
{{- define "configure" }}
- cd /src/{{ .name }} && ./configure --prefix=/usr{{ range .flags }} {{ . }}{{ end }}
{{- end }}
{{- define "make" }}
- cd /src/{{ .name }} && make -j{{ .jobs | default 2 }} && make install
{{- end }}
{{- define "strip" }}
{{- if .strip }}
- find /usr -type f -name '*.so*' -exec strip {} +
{{- end }}
{{- end }}
"""
"""What a `templates` folder defines, as real trees have it."""

TEMPLATED = """\
steps:
{{- include "fetch" .Values }}
{{- if .Values.patches }}
{{- range .Values.patches }}
- cd /src && patch -p1 < {{ . }}
{{- end }}
{{- end }}
{{- include "configure" .Values }}
{{- include "make" .Values }}
{{- include "strip" .Values }}
"""


def write_templated(tree: Path, count: int) -> None:
    """Write a tree of `count` packages as `write_planned` does, whose `build.yaml` use templates.

    No two of these have the same text.
    """
    write_planned(tree, count)
    (tree / "templates").mkdir(exist_ok=True)
    (tree / "templates" / "helpers.yaml").write_text(HELPERS, encoding="utf-8")
    for number, path in enumerate(sorted(tree.glob("*/*/build.yaml"))):
        start = path.read_text(encoding="utf-8").partition("steps:")[0]
        path.write_text(f"{start}{TEMPLATED}- echo {number}\n", encoding="utf-8")
        values = f"mirror: https://example.org/{number}\nflags: [--with-a, --without-b]\n"
        values += "strip: true\n" + ("patches: [a.patch]\n" if number % 3 else "")
        with path.with_name("definition.yaml").open("a", encoding="utf-8") as definition:
            definition.write(values)


def write_rendered(tree: Path, target: Path) -> None:
    """Write the definitions of a templated tree, and its `build.yaml` as templates make them."""
    templates = Templates([Source("helpers.yaml", HELPERS)])
    for path in sorted(tree.glob("*/*/build.yaml")):
        folder = target / path.parent.relative_to(tree)
        folder.mkdir(parents=True)
        definition = path.with_name("definition.yaml").read_text(encoding="utf-8")
        source = Source(str(path), path.read_text(encoding="utf-8"))
        rendered = templates.render(source, yaml.safe_load(definition)).text
        (folder / "definition.yaml").write_text(definition, encoding="utf-8")
        (folder / "build.yaml").write_text(rendered, encoding="utf-8")


def write_planned(tree: Path, count: int) -> None:
    """Write `count` packages that each require up to three of those before them."""
    numbers = random.Random(20)  # noqa: S311  (a fixed sequence is wanted)
    packages: list[PackageId] = []
    for number in range(count):
        package = PackageId(f"c{number % 20}", f"p{number}", f"1.{number % 7}")
        wanted = numbers.sample(packages[-200:], min(len(packages), numbers.randint(0, 3)))
        start = ["requires:", *map(requirement, sorted(wanted))] if wanted else ["image: base"]
        write_package(tree, package, [*start, "steps:", f"- echo {number} > /file-{number}"])
        packages.append(package)


def write_chain(tree: Path, count: int, seed: str) -> None:
    """Write `count` trivial packages, each on the one before; another `seed` makes them all new."""
    packages = [PackageId("bench", f"link{number}", "1.0") for number in range(count)]
    for number, package in enumerate(packages):
        start = (
            ["requires:", requirement(packages[number - 1])] if number else [f"image: {BASE_IMAGE}"]
        )
        step = f"- echo {seed} > /link-{number}"
        write_package(tree, package, [*start, "steps:", step])


def write_siblings(tree: Path, count: int, seed: str, *, large: bool) -> None:
    """Write `count` trivial packages on the base, or on it with 20,000 files and 400 MB more."""
    start = [f"image: {BASE_IMAGE}"]
    if large:
        ground = PackageId("bench", "ground", "1.0")
        files = "mkdir /ground && cd /ground && seq 20000 | split -l 1 -a 4"
        blob = "head -c 400M /dev/urandom > /ground/blob"
        write_package(tree, ground, [*start, "steps:", f"- {files}", f"- {blob}"])
        start = ["requires:", requirement(ground)]
    for number in range(count):
        package = PackageId("bench", f"sibling{number}", "1.0")
        write_package(tree, package, [*start, "steps:", f"- echo {seed} > /sibling-{number}"])


def write_payload(tree: Path, seed: str) -> None:
    """Write one large package; another `seed` packs it again without running its steps."""
    copies = " ".join(str(number) for number in range(PAYLOAD_COPIES))
    lines = [
        f"image: {BASE_IMAGE}",
        "steps:",
        f"- mkdir /payload && for each in {copies}; do cp -a /usr /payload/$each; done",
        "package_dir: /payload",
        f"excludes: ['^/no-such-path-{seed}$']",
    ]
    write_package(tree, PackageId("bench", "payload", "1.0"), lines)
