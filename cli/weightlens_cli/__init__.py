"""The command line: a client of the public API. Each command is one file: parse, call, print."""
