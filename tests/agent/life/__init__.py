"""Life-cycle commands on disks that are files here."""
