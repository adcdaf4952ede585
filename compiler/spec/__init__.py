"""What people write under a tree, as models: packages, collections and their files."""
