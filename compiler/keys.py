"""The names by which the results of builds are kept: hashes of everything they were made from."""

from typing import NewType

LayerKey = NewType("LayerKey", str)
"""Names a node by everything that can change its layers; 64 hexadecimal digits."""

ArtifactKey = NewType("ArtifactKey", str)
"""Names an artifact by its layer key and everything that packing uses; 64 hexadecimal digits."""
