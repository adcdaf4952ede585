"""One module for each key of a step: decides what its entries do."""
