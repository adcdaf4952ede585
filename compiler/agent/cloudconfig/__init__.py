"""The executor of boot stages: reads cloud-config, decides what a step does, and does it."""
