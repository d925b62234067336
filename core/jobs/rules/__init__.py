"""What a job must satisfy before it is accepted: everything that can be known without running anything. No torch."""
