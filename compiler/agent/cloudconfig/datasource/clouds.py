"""The metadata services of clouds, each with its address and its paths."""

from collections.abc import Mapping

from compiler.agent.cloudconfig.datasource import Found, NothingError
from compiler.agent.cloudconfig.datasource.service import (
    Service,
    at,
    lines,
    parsed,
    text_at,
    texts,
)
from compiler.errors import OutsideError

Addresses = Mapping[str, str]

_LINK_LOCAL = "http://169.254.169.254"
_TOKEN = "X-aws-ec2-metadata-token"  # noqa: S105  (the name of a header)
_SECONDS = "300"


def _base(name: str, addresses: Addresses, default: str) -> str:
    return addresses.get(name, default).rstrip("/")


def aws(addresses: Addresses) -> Found:
    """Ask EC2, with a session token where it gives one."""
    base = _base("aws", addresses, _LINK_LOCAL)
    return _ec2("AWS", Service(f"{base}/latest", _session(base)))


def openstack(addresses: Addresses) -> Found:
    """Ask OpenStack by the paths that it shares with EC2."""
    return _ec2("OpenStack", Service(f"{_base('openstack', addresses, _LINK_LOCAL)}/latest"))


def _session(base: str) -> dict[str, str]:
    """Get a token (IMDSv2), without which many machines answer nothing."""
    try:
        token = Service(base).send(
            "/latest/api/token", "PUT", b"", {f"{_TOKEN}-ttl-seconds": _SECONDS}
        )
    except OutsideError:
        return {}
    return {_TOKEN: token.strip()} if token.strip().isascii() else {}


def _ec2(name: str, service: Service) -> Found:
    hostname = service.text("/meta-data/hostname")
    paths = {
        "public_ipv4": "/meta-data/public-ipv4",
        "local_ipv4": "/meta-data/local-ipv4",
        "availability_zone": "/meta-data/placement/availability-zone",
        "instance_type": "/meta-data/instance-type",
        "instance_id": "/meta-data/instance-id",
        "local_hostname": "/meta-data/local-hostname",
    }
    return Found(
        provider=name,
        userdata=service.userdata("/user-data"),
        hostname=hostname,
        keys=lines(service.optional("/meta-data/public-keys/0/openssh-key")),
        facts=service.facts(paths),
    )


def gcp(addresses: Addresses) -> Found:
    """Ask Google's cloud."""
    base = _base("gcp", addresses, "http://metadata.google.internal")
    service = Service(f"{base}/computeMetadata/v1", {"Metadata-Flavor": "Google"})
    hostname = service.text("/instance/hostname")
    keys = lines(service.optional("/project/attributes/ssh-keys"))
    return Found(
        provider="GCP",
        userdata=service.userdata("/instance/attributes/user-data"),
        hostname=hostname,
        keys=tuple(each.partition(":")[2] or each for each in keys),
    )


def hetzner(addresses: Addresses) -> Found:
    """Ask Hetzner's cloud."""
    service = Service(f"{_base('hetzner', addresses, _LINK_LOCAL)}/hetzner/v1")
    hostname = service.text("/metadata/hostname")
    keys = parsed(service.optional("/metadata/public-keys").encode())
    paths = {"public_ipv4": "/metadata/public-ipv4", "instance_id": "/metadata/instance-id"}
    return Found(
        provider="Hetzner",
        userdata=service.userdata("/userdata"),
        hostname=hostname,
        keys=tuple(texts(keys)),
        facts=service.facts(paths),
    )


def packet(addresses: Addresses) -> Found:
    """Ask Packet; user data that only boots the machine is none for us."""
    service = Service(_base("packet", addresses, "https://metadata.packet.net"))
    data = service.object("/metadata")
    userdata = service.userdata("/userdata")
    return Found(
        provider="Packet",
        userdata=b"" if userdata.startswith(b"#!ipxe") else userdata,
        hostname=text_at(data, "hostname"),
        keys=tuple(texts(at(data, "ssh_keys"))),
        facts={"instance_id": text_at(data, "id")},
    )


def scaleway(addresses: Addresses) -> Found:
    """Ask Scaleway, whose user data only root gets."""
    service = Service(_base("scaleway", addresses, "http://169.254.42.42"))
    pairs = (line.partition("=") for line in lines(service.text("/conf")))
    conf = {name: value.strip("'") for name, _, value in pairs}
    if "HOSTNAME" not in conf:
        raise NothingError("the configuration has no HOSTNAME")
    names = {
        "instance_id": "ID",
        "instance_location": "LOCATION_ZONE_ID",
        "public_ip": "PUBLIC_IP_ADDRESS",
        "private_ip": "PRIVATE_IP",
    }
    found = (value for name, value in sorted(conf.items()) if _is_key(name))
    userdata = service.privileged("/user_data/cloud-init") or service.privileged("/user_data")
    return Found(
        provider="Scaleway",
        userdata=userdata,
        hostname=conf["HOSTNAME"],
        keys=tuple(each for each in found if each),
        facts={file: conf[name] for file, name in names.items() if name in conf},
    )


def _is_key(name: str) -> bool:
    return name.startswith("SSH_PUBLIC_KEYS_") and name.endswith("_KEY")


def vultr(addresses: Addresses) -> Found:
    """Ask Vultr; its user data is where EC2 has it."""
    service = Service(_base("vultr", addresses, _LINK_LOCAL))
    hostname = service.text("/v1/hostname")
    paths = {
        "public_ipv4": "/v1/interfaces/0/ipv4/address",
        "private_ipv4": "/v1/interfaces/1/ipv4/address",
        "private_netmask": "/v1/interfaces/1/ipv4/netmask",
        "region_code": "/v1/region/regioncode",
        "instance_id": "/v1/instanceid",
    }
    return Found(
        provider="Vultr",
        userdata=service.userdata("/latest/user-data"),
        hostname=hostname,
        keys=lines(service.optional("/v1/public-keys")),
        facts=service.facts(paths),
    )


def digitalocean(addresses: Addresses) -> Found:
    """Ask DigitalOcean."""
    service = Service(f"{_base('digitalocean', addresses, _LINK_LOCAL)}/metadata/v1")
    hostname = service.text("/hostname")
    paths = {
        "public_ipv4": "/interfaces/public/0/ipv4/address",
        "private_ipv4": "/interfaces/private/0/ipv4/address",
        "region": "/region",
        "instance_id": "/id",
    }
    return Found(
        provider="DigitalOcean",
        userdata=service.userdata("/user-data"),
        hostname=hostname,
        keys=lines(service.optional("/public-keys")),
        facts=service.facts(paths),
    )


def metaldata(addresses: Addresses) -> Found:
    """Ask the service that is called metaldata in its network."""
    service = Service(f"{_base('metaldata', addresses, 'http://metaldata')}/get")
    hostname = service.text("/meta/hostname")
    paths = {
        "public_ipv4": "/meta/public-ipv4",
        "private_ipv4": "/meta/private-ipv4",
        "failure_domain": "/meta/failure-domain",
        "machine_id": "/meta/machine-id",
        "machine_type": "/meta/machine-type",
    }
    return Found(
        provider="metaldata",
        userdata=service.userdata("/user"),
        hostname=hostname,
        keys=lines(service.optional("/meta/authorized-keys")),
        facts=service.facts(paths),
    )
