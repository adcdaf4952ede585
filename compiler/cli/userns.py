"""What commands that touch layers do first when they do not run as root."""

import importlib
import os


def enter_user_namespace() -> None:
    """Become root of a user namespace, unless we are root; layers belong to users of that one.

    Must come before the store is opened and before any thread starts. Raises `EngineError` where
    the kernel does not allow it.
    """
    if os.geteuid() != 0:
        importlib.import_module("compiler.engine.namespace").prepare()
