"""Keys, and signatures of images and files, in the formats of the `cosign` program."""
