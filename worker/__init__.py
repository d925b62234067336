"""The worker: claims tasks, runs them in a child process, keeps their leases."""
