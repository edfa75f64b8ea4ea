"""`skerry check`: what is wrong with this appliance, why, and what to do about it."""
