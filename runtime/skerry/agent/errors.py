"""Errors of the agent.

AgentError
 +- DeploymentError         a deployment, or one module of it, cannot be used as it is
     +- SchemaVersionError  a deployment of a version that is not known
"""

from skerry.base.errors import SkerryError


class AgentError(SkerryError):
    """The root of this domain."""


class DeploymentError(AgentError):
    """A deployment that cannot be used; the text says where and what was expected."""


class SchemaVersionError(DeploymentError):
    """A deployment made for another version of the agent."""
