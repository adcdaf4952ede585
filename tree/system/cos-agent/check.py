"""check.py FOLDER: loads every module of the agent that was installed into FOLDER.

A library that neither the distribution nor a wheel brings is found while the image is built, rather than on a
machine: the commands of the life cycle load what they need when they are called.
"""

import importlib
import pkgutil
import sys

sys.path.insert(0, sys.argv[1])

import compiler.agent

LATE = ("compiler.spec.gotemplate",)
"""Modules that the agent loads by name, when they are first needed."""


def names():
    """Give every module of the agent but those that run a command when they are loaded."""
    for module in pkgutil.walk_packages(compiler.agent.__path__, "compiler.agent."):
        if not module.name.endswith(".__main__"):
            yield module.name
    yield from LATE


lacking = {}
for name in names():
    try:
        importlib.import_module(name)
    except ImportError as error:
        lacking.setdefault(str(error), name)
for text, name in sorted(lacking.items()):
    print(f"error: {name}: {text}", file=sys.stderr)
if lacking:
    print("hint: name what has it under `packages` of the flavour, or in lacking.lock", file=sys.stderr)
    sys.exit(1)
