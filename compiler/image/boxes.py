"""Disks packed with the description of a machine: OVA for hypervisors, boxes of Vagrant."""

import gzip
import hashlib
import json
import re
import tarfile
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from uuid import UUID
from xml.sax.saxutils import escape

from compiler.archive import Kind
from compiler.errors import ImageError
from compiler.image.tree import Tree

PROCESSORS, MEMORY = 2, 2048  # MiB
FEATURE = "system/features/vagrant.yaml"
"""The cloud-config that makes the user of Vagrant."""

_PACKED = 6
_NAME = "cos"
_DESCRIPTION, _DESCRIBED = 512, 512 * 20
_GIB = 1 << 30
_LARGEST = 1 << 16
_MOST_PACKED = 8 * _GIB
_CIM = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM"
_OVF = f"""\
<?xml version="1.0" encoding="UTF-8"?>
<Envelope ovf:version="1.0" xml:lang="en-US" xmlns="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:rasd="{_CIM}_ResourceAllocationSettingData" xmlns:vssd="{_CIM}_VirtualSystemSettingData">
 <References>
  <File ovf:id="file1" ovf:href="{_NAME}.vmdk" ovf:size="@packed@"/>
 </References>
 <DiskSection>
  <Info>The disk</Info>
  <Disk ovf:diskId="disk1" ovf:fileRef="file1" ovf:capacity="@size@"
   ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
 </DiskSection>
 <NetworkSection>
  <Info>The network</Info>
  <Network ovf:name="NAT"><Description>A network with a way out</Description></Network>
 </NetworkSection>
 <VirtualSystem ovf:id="{_NAME}">
  <Info>A machine</Info>
  <Name>@title@</Name>
  <OperatingSystemSection ovf:id="101"><Info>Linux, 64 bits</Info></OperatingSystemSection>
  <VirtualHardwareSection>
   <Info>Its hardware</Info>
   <System>
    <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
    <vssd:InstanceID>0</vssd:InstanceID>
    <vssd:VirtualSystemIdentifier>{_NAME}</vssd:VirtualSystemIdentifier>
    <vssd:VirtualSystemType>vmx-10 virtualbox-2.2</vssd:VirtualSystemType>
   </System>
   <Item>
    <rasd:ElementName>Processors</rasd:ElementName>
    <rasd:InstanceID>1</rasd:InstanceID>
    <rasd:ResourceType>3</rasd:ResourceType>
    <rasd:VirtualQuantity>{PROCESSORS}</rasd:VirtualQuantity>
   </Item>
   <Item>
    <rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits>
    <rasd:ElementName>Memory</rasd:ElementName>
    <rasd:InstanceID>2</rasd:InstanceID>
    <rasd:ResourceType>4</rasd:ResourceType>
    <rasd:VirtualQuantity>{MEMORY}</rasd:VirtualQuantity>
   </Item>
   <Item>
    <rasd:Address>0</rasd:Address>
    <rasd:ElementName>SATA controller</rasd:ElementName>
    <rasd:InstanceID>3</rasd:InstanceID>
    <rasd:ResourceSubType>AHCI</rasd:ResourceSubType>
    <rasd:ResourceType>20</rasd:ResourceType>
   </Item>
   <Item>
    <rasd:AddressOnParent>0</rasd:AddressOnParent>
    <rasd:ElementName>Disk</rasd:ElementName>
    <rasd:HostResource>ovf:/disk/disk1</rasd:HostResource>
    <rasd:InstanceID>4</rasd:InstanceID>
    <rasd:Parent>3</rasd:Parent>
    <rasd:ResourceType>17</rasd:ResourceType>
   </Item>
   <Item>
    <rasd:AutomaticAllocation>true</rasd:AutomaticAllocation>
    <rasd:Connection>NAT</rasd:Connection>
    <rasd:ElementName>Network card</rasd:ElementName>
    <rasd:InstanceID>5</rasd:InstanceID>
    <rasd:ResourceSubType>E1000</rasd:ResourceSubType>
    <rasd:ResourceType>10</rasd:ResourceType>
   </Item>
  </VirtualHardwareSection>
 </VirtualSystem>
</Envelope>
"""
"""Types of resources are numbers of CIM_ResourceAllocationSettingData."""

_VAGRANTFILE = f"""\
Vagrant.configure("2") do |config|
  # The system has no shared folders, and what is written to a home is gone after a boot: the public
  # key of Vagrant, which `/oem/features/vagrant.yaml` has, stays the one to log in with.
  config.vm.synced_folder ".", "/vagrant", disabled: true
  config.ssh.insert_key = false
  config.vm.provider :libvirt do |machine|
    machine.cpus = {PROCESSORS}
    machine.memory = {MEMORY}
  end
end
"""


def feature_of(root: Tree) -> dict[str, bytes]:
    """Return the file of the OEM partition that switches the feature `vagrant` on, as a link would.

    Raises `ImageError` for a system that does not have it.
    """
    found = root.resolve(FEATURE)
    if found is None or found.kind is not Kind.FILE:
        hint = "add the package system/cos-features to the system"
        raise ImageError(f"{root.name}: /{FEATURE} is not there, for Vagrant's user", hint=hint)
    for _, data in root.files([found.path]):
        text = data if isinstance(data, bytes) else data.read(_LARGEST) or b""
    return {"features/vagrant.yaml": text}


def pack_box(disk: Path, target: Path, *, size: int, epoch: int) -> None:
    """Pack a qcow2 disk of `size` bytes as a box of Vagrant's provider libvirt.

    Format: vagrant-libvirt, "Box Format": `metadata.json` with the size in GiB, rounded up.
    """
    about = {"provider": "libvirt", "format": "qcow2", "virtual_size": -(-size // _GIB)}
    with (
        target.open("wb") as file,
        gzip.GzipFile("", "wb", _PACKED, file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        _add(archive, "metadata.json", json.dumps(about).encode() + b"\n", epoch)
        _add(archive, "Vagrantfile", _VAGRANTFILE.encode(), epoch)
        _add(archive, "box.img", disk, epoch)


def pack_ova(disk: Path, target: Path, *, title: str, size: int, epoch: int) -> None:
    """Pack a stream-optimized VMDK of `size` bytes as an OVA.

    Format: DMTF DSP0243 1.1, "OVF package" (section 5): a tar archive in the form of USTAR, with
    the description first, then its manifest of checksums, then the disk. Raises `ImageError` for
    a disk that such an archive has no room for.
    """
    length = disk.stat().st_size
    if length >= _MOST_PACKED:
        raise ImageError("the disk is too large for an OVA, which takes 8 GiB when compressed")
    about = {"packed": str(length), "size": str(size), "title": escape(title)}
    described = re.sub("@([a-z]+)@", lambda name: about[name[1]], _OVF).encode()
    with disk.open("rb") as file:
        packed = hashlib.file_digest(file, "sha256").hexdigest()
    sums = (
        f"SHA256({_NAME}.ovf)= {hashlib.sha256(described).hexdigest()}\n"
        f"SHA256({_NAME}.vmdk)= {packed}\n"
    )
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
        _add(archive, f"{_NAME}.ovf", described, epoch)
        _add(archive, f"{_NAME}.mf", sums.encode(), epoch)
        _add(archive, f"{_NAME}.vmdk", disk, epoch)


def settle_vmdk(disk: Path, identity: UUID) -> None:
    """Give a VMDK made by qemu-img a content identity that is always the same.

    Format: VMware, "Virtual Disk Format 5.0", "The Descriptor File": the line `CID=` of the text
    that follows the header, which has room; qemu-img writes from one to eight hexadecimal digits.
    """
    cid = identity.hex[:8].encode()
    with disk.open("r+b") as file:
        file.seek(_DESCRIPTION)
        text, _, rest = file.read(_DESCRIBED).partition(b"\0")
        settled, found = re.subn(rb"(?m)^CID=[0-9a-f]{1,8}$", b"CID=" + cid, text)
        if not found or rest.strip(b"\0"):
            raise ImageError(f"{disk}: qemu-img wrote no description that is known")
        file.seek(_DESCRIPTION)
        file.write(settled.ljust(_DESCRIBED, b"\0"))


def _add(archive: tarfile.TarFile, name: str, content: bytes | Path, epoch: int) -> None:
    info = tarfile.TarInfo(name)
    info.mtime = epoch
    info.mode = 0o644
    with ExitStack() as stack:
        if isinstance(content, Path):
            info.size = content.stat().st_size
            archive.addfile(info, stack.enter_context(content.open("rb")))
        else:
            info.size = len(content)
            archive.addfile(info, BytesIO(content))
