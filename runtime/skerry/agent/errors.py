"""Errors of the agent.

AgentError
 +- DeploymentError         a deployment, or one module of it, cannot be used as it is
 |   +- SchemaVersionError  a deployment of a version that is not known
 +- MethodError             a direct method that cannot be understood
"""

from skerry.base.errors import SkerryError


class AgentError(SkerryError):
    """The root of this domain."""


class DeploymentError(AgentError):
    """A deployment that cannot be used; the text says where and what was expected."""


class SchemaVersionError(DeploymentError):
    """A deployment made for another version of the agent."""


class MethodError(AgentError):
    """A call of a direct method that cannot be understood; the text says what was expected."""
