"""The paths of places in a root."""


def split(path: str) -> tuple[str, str]:
    """Split a path into its folder ("" is the root) and its name."""
    folder, _, name = path.rpartition("/")
    return folder, name
