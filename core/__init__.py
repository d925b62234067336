"""The engine and the records: everything in Bitfront that is true without a web server."""
