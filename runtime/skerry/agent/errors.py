"""Errors of the agent.

AgentError
 +- DeploymentError   a deployment, or one module of it, cannot be used as it is
"""

from skerry.base.errors import SkerryError


class AgentError(SkerryError):
    """The root of this domain."""


class DeploymentError(AgentError):
    """A deployment that cannot be used; the text says where and what was expected."""
