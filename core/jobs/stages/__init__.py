"""The stages of a job: each a pure function of its task's inputs."""
