"""`skerry-lab policy`: the hub's shared access keys, for service SDKs and tools."""

import argparse

from skerry_lab.cloud import Cloud
from skerry_lab.verbs._common import add_command, add_group, opened, show_list


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    commands = add_group(subparsers, "policy", "the hub's shared access policies")
    add_command(commands, "list", "list policies with their connection strings", _list)


def _list(options: argparse.Namespace) -> int:
    def work(cloud: Cloud) -> list[dict[str, object]]:
        return [
            {
                "policyName": policy.name,
                "rights": sorted(policy.rights),
                "connectionString": policy.connection_string(cloud.names.own),
            }
            for policy in cloud.policies.all()
        ]

    with opened(options) as store:
        rows = store.do(work)
    show_list(options, rows, ("policyName", "connectionString"))
    return 0
