"""A job: its specification, its tasks, its stages as pure functions of their inputs."""
