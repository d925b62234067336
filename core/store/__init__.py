"""Tables, repositories and artifact storage."""
