"""Deployments: what edge devices are to run."""
