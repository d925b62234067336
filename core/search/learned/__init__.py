"""Strategies that train: the policy falls out of a training whose loss has the cost in it."""
