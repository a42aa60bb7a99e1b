"""The command line: sub3."""
