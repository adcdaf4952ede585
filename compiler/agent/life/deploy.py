"""`cos-deploy`: puts one system into both places of a disk that has only a recovery system."""

from compiler.agent.assessment import replace_steps
from compiler.agent.life import bootloader, power
from compiler.agent.life.host import Host
from compiler.agent.life.install import hooks_of
from compiler.agent.life.phases import LifeError, Phase
from compiler.agent.life.settings import Settings
from compiler.agent.life.site import Site, open_site
from compiler.agent.life.source import open_system
from compiler.agent.life.transition import (
    Change,
    checked,
    fill,
    take_over,
    tell_source,
    wanted_source,
)
from compiler.agent.snapshots import all_removed
from compiler.layout import ACTIVE_IMAGE


def deploy(host: Host, settings: Settings) -> None:
    """Deploy; raises `LifeError` with the phase that failed."""
    host.need_root()
    with host.alone(), open_site(host, settings, persistent=False) as site:
        _refuse(site)
        site.images.tidy()
        wanted = wanted_source(settings)
        tell_source(site, wanted)
        hooks = hooks_of(host, settings, "deploy")
        with open_system(wanted, site.opening()) as system:
            change = Change(site=site, system=system, hooks=hooks, inventory=checked(system))
            image = fill(change, "deploy")
            contents = system.contents
        take_over(site, image, (*all_removed(site.images.disk()), *replace_steps()))
        bootloader.rebrand(site.state, settings.text("GRUB_ENTRY_NAME"))
        site.settle("system", contents)
        hooks.post()
    host.log.info("Deployment done, now you might want to reboot")
    power.after(host, settings, asked=False)


def _refuse(site: Site) -> None:
    """Raise `LifeError` if there are systems already, unless they may be overwritten."""
    wanted = {site.settings.text("ACTIVE_LABEL"), site.settings.text("PASSIVE_LABEL")}
    there = any(each.label in wanted for each in site.devices)
    if not (there or (site.state / ACTIVE_IMAGE).exists()):
        return
    if not site.settings.flag("FORCE"):
        message = (
            "There is already an active deployment in the system, "
            "use '--force' flag to overwrite it"
        )
        raise LifeError(message, Phase.INSTALLED)
    text = "Forcing overwrite current COS_ACTIVE and COS_PASSIVE partitions"
    site.host.log.info(text)
