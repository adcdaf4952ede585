"""The life of a machine: its system is installed, upgraded, reset, deployed, and told about."""
