"""The names that processors have in several places."""

import pytest

from compiler.processors import AMD64, ARM64, processors_named


def test_processors_are_known_by_the_names_of_registries_and_of_the_kernel() -> None:
    assert processors_named("amd64") is processors_named("x86_64") is AMD64
    assert processors_named("arm64") is processors_named("aarch64") is ARM64


@pytest.mark.parametrize("name", ["", "riscv64", "x64", "ARM64"])
def test_others_are_none(name: str) -> None:
    assert processors_named(name) is None


def test_loaders_are_where_firmware_looks() -> None:
    assert AMD64.loader == "EFI/BOOT/BOOTX64.EFI"
    assert ARM64.loader == "EFI/BOOT/BOOTAA64.EFI"
