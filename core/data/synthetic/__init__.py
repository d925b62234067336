"""Images for jobs without data: made from the network itself."""
