"""System images out of root trees: ISO images and disks, without mounts and without root."""
